//! Two servers and a broker between them. They are driven by the page, in a browser.

mod browser {
    use fanfeed_testkit::{NatsServer, RedisServer, Release};

    use crate::browser::{accounted, counts};
    use crate::devtools::{DESK, Page};
    use crate::example::{Board, SPEED};

    /// Pages of both servers hear the replay, whichever server sends it. When one server is killed,
    /// the page of the other goes on and misses nothing.
    fn one_audience(broker: &str) {
        let arguments = ["--speed", SPEED, "--broker", broker];
        let mut boards = [Board::start(&arguments), Board::start(&arguments)];
        let mut pages = [0, 1].map(|at| Page::open(&boards[at].url("#ORD,DFW,ATL"), &DESK));
        let heard = "channels.size > 0 && [...channels.values()].every(one => !one.wanted || one.received > 5)";
        for page in &mut pages {
            page.wait("every channel is heard", heard);
        }
        for page in &mut pages {
            assert_eq!(page.evaluate("totals.missed"), 0);
        }
        let [first, second] = &mut pages;
        let before = counts(second);
        boards[0].kill();
        first.wait(
            "the page of the other says so",
            "element('status').textContent.startsWith('Connection lost')",
        );
        let received = second.evaluate("totals.received");
        let more = format!("totals.received > {received} + 60");
        second.wait("the page goes on", &more);
        assert_eq!(accounted(&before, &counts(second)), 0);
        boards[0].start_again();
        first.wait(
            "the other page is back",
            "element('joined').textContent === '3' && /^Back/.test(element('status').textContent)",
        );
    }

    #[test]
    fn two_servers_over_redis_have_one_audience() {
        one_audience(&RedisServer::start(Release::Old).url());
    }

    #[test]
    fn two_servers_over_nats_have_one_audience() {
        let server = NatsServer::start(Release::Old);
        one_audience(&format!("{}?mode=core", server.url()));
    }

    #[test]
    fn two_servers_over_jetstream_have_one_audience() {
        let server = NatsServer::builder(Release::Old).jetstream().start();
        one_audience(&server.url());
    }
}
