//! The page in a browser.

use serde_json::{Value, json};

use crate::devtools::{DESK, Look, Page};
use crate::example::{Board, SPEED};

/// A page with these channels.
fn open(board: &Board, channels: &str, look: &Look) -> Page {
    let mut page = Page::open(&board.url(&format!("#{channels}")), look);
    let count = channels.split(',').count();
    joined(&mut page, count);
    page
}

fn joined(page: &mut Page, count: usize) {
    let condition = format!("element('joined').textContent === '{count}'");
    page.wait("the channels are joined", &condition);
}

#[track_caller]
fn no_complaint(page: &mut Page) {
    assert_eq!(page.complaints(), Vec::<String>::new());
}

/// The channels that are wanted, each with the last number, the messages received and the messages
/// missed.
pub(crate) fn counts(page: &mut Page) -> Vec<(String, [u64; 3])> {
    let counts = page.evaluate(
        "[...channels.values()].filter(one => one.wanted)
           .map(one => [one.code, one.seq ?? 0, one.received, one.missed])",
    );
    let channel = |one: &Value| {
        let number = |at: usize| one[at].as_u64().expect("a number");
        let code = one[0].as_str().expect("a code").to_owned();
        (code, [number(1), number(2), number(3)])
    };
    counts
        .as_array()
        .expect("a list")
        .iter()
        .map(channel)
        .collect()
}

/// Every number between the two is either received or said to be missed. Gives how many were
/// missed.
#[track_caller]
pub(crate) fn accounted(before: &[(String, [u64; 3])], after: &[(String, [u64; 3])]) -> u64 {
    assert_eq!(before.len(), after.len());
    let missed = before
        .iter()
        .zip(after)
        .map(|((code, before), (_, after))| {
            let [numbers, received, missed] = [0, 1, 2].map(|at| after[at] - before[at]);
            assert_eq!(
                numbers,
                received + missed,
                "{code}: {before:?}, then {after:?}"
            );
            missed
        });
    missed.sum()
}

#[test]
fn a_stream_is_shown_with_its_latency() {
    let board = Board::start(&["--speed", SPEED]);
    let mut page = open(&board, "ORD,DFW,ATL,LAX,DEN,JFK", &DESK);
    page.wait("messages come", "totals.received > 60");
    page.wait(
        "the latency is known",
        "element('latency').textContent.endsWith(' ms')",
    );
    page.wait(
        "the round trip is known",
        "element('trip').textContent.endsWith(' ms')",
    );
    page.wait("aircraft are in the air", "sky.flights.size > 3");
    let log = page
        .evaluate("document.querySelectorAll('#log li').length")
        .as_u64();
    assert!(
        log.is_some_and(|lines| (40..=100).contains(&lines)),
        "{log:?}"
    );
    assert_eq!(page.text("missed"), "0");
    let label = page.evaluate("element('rates').ariaLabel");
    assert!(
        label
            .as_str()
            .is_some_and(|text| text.contains("median latency")),
        "{label}"
    );
    // Pixels of the colour of aircraft, on the map: it is not only counted.
    page.wait(
        "aircraft are drawn",
        "(() => { const at = element('sky');
           const data = at.getContext('2d').getImageData(0, 0, at.width, at.height).data;
           const [r, g, b] = colours.accent.match(/\\d+/g).map(Number); let count = 0;
           for (let i = 0; i < data.length; i += 4)
             if (data[i] === r && data[i + 1] === g && data[i + 2] === b) count += 1;
           return count > 20; })()",
    );
    page.picture("light");
    no_complaint(&mut page);
}

/// Of two servers that replay, one may be behind the other.
#[test]
fn what_comes_late_is_not_missed() {
    let board = Board::start(&["--speed", SPEED]);
    let mut page = open(&board, "ORD", &DESK);
    let told = page.evaluate(
        "(() => { const one = new Channel(['XXX', 'Nowhere', '', 0, 0, 0]), before = { ...totals };
           const body = { epoch: 1, flight: -1 }, timestamp = new Date().toISOString();
           for (const seq of [1, 2, 6, 7, 4, 4, 5, 2, 8]) one.count({ type: 'arrived', timestamp }, { ...body, seq });
           return [one.seq, one.received, one.missed, totals.repeated - before.repeated]; })()",
    );
    assert_eq!(told, json!([8, 7, 1, 2]));
}

#[test]
fn twenty_channels_at_once() {
    let board = Board::start(&["--speed", SPEED]);
    let mut page = open(&board, "ORD", &Look { dark: true, ..DESK });
    page.evaluate("element('join20').click()");
    joined(&mut page, 20);
    page.wait(
        "every channel is heard",
        "[...channels.values()].every(one => !one.wanted || one.received > 0)",
    );
    let before = counts(&mut page);
    assert_eq!(before.len(), 20);
    page.wait("a thousand messages came", "totals.received > 1000");
    assert_eq!(accounted(&before, &counts(&mut page)), 0);
    assert_eq!(page.text("missed"), "0");
    page.picture("dark");
    page.evaluate("element('leave').click()");
    joined(&mut page, 0);
    assert!(page.text("status").starts_with("No channel is joined"));
    no_complaint(&mut page);
}

#[test]
fn what_was_heard_before_a_loss_does_not_count_after_it() {
    let board = Board::start(&["--speed", SPEED]);
    let mut page = open(&board, "ORD,DFW", &DESK);
    // ORD is lost, DFW is heard once more, and then DFW is lost.
    page.evaluate(
        "window.heard = null;
         const ord = channels.get('ORD'), dfw = channels.get('DFW');
         dfw.count = (message, body) => {
           delete dfw.count;
           ord.lost(1006, '');
           dfw.count(message, body);
           dfw.lost(1006, '');
           heard = outage.heard.size;
         };",
    );
    page.wait("DFW is heard", "heard !== null");
    assert_eq!(page.evaluate("heard"), 0);
    joined(&mut page, 2);
    page.wait("the outage ends", "outage === null");
    no_complaint(&mut page);
}

/// Restarts the server by `end` and gives what the page then says.
fn restarted(end: fn(&mut Board), look: &Look, picture: &str) -> String {
    let mut board = Board::start(&["--speed", SPEED]);
    let mut page = open(&board, "ORD,DFW,ATL,LAX,PHX,STL", look);
    page.wait(
        "every channel is heard",
        "[...channels.values()].every(one => !one.wanted || one.received > 2)",
    );
    let before = counts(&mut page);
    // Lines leave the stream again when others come.
    page.evaluate(
        "window.gaps = 0; new MutationObserver(all => all.forEach(one => one.addedNodes.forEach(
           node => { gaps += node.querySelectorAll('.gap').length; }))).observe(element('log'), { childList: true })",
    );
    end(&mut board);
    page.wait(
        "the page says so",
        "element('status').textContent.startsWith('Connection lost')",
    );
    joined(&mut page, 0);
    assert_eq!(page.evaluate("element('status').className"), "bad");
    // A day takes 4.3 s at this speed, and hardly anything flies in its night: the server stays
    // away for a whole day, so that something is missed.
    page.wait("a day is over", "now() - outage.since > 4400");
    board.start_again();
    joined(&mut page, 6);
    page.wait(
        "the page says what it missed",
        "/^Back after .* missed/.test(element('status').textContent)
           && !element('status').textContent.includes('still to hear')",
    );
    let (said, after) = (page.text("status"), counts(&mut page));
    let missed = accounted(&before, &after);
    assert!(missed > 0);
    for (code, [_, _, missed]) in after.iter().filter(|(_, counts)| counts[2] > 0) {
        assert!(
            said.contains(&format!("{missed} of {code}")),
            "{code}: {said}"
        );
    }
    let figure = format!("element('missed').textContent.replace(',', '') === '{missed}'");
    page.wait("the figures say so as well", &figure);
    let gaps = after.iter().filter(|(_, counts)| counts[2] > 0).count();
    assert_eq!(page.evaluate("gaps"), gaps);
    page.picture(picture);
    let complaints = page.complaints();
    assert!(
        complaints
            .iter()
            .all(|one| one.contains("ERR_CONNECTION_REFUSED")),
        "{complaints:?}"
    );
    said
}

#[test]
fn a_killed_server_is_joined_again_and_what_was_missed_is_said() {
    restarted(Board::kill, &DESK, "restart");
}

#[test]
fn a_server_that_ends_well_is_joined_again_and_what_was_missed_is_said() {
    restarted(
        Board::stop,
        &Look {
            width: 360,
            height: 740,
            ..DESK
        },
        "restart-narrow",
    );
}

#[test]
fn the_keyboard_alone_does_everything() {
    let board = Board::start(&["--speed", SPEED]);
    let mut page = open(&board, "ORD", &DESK);
    let mut passed = Vec::new();
    let mut until = |page: &mut Page, wanted: &str| {
        for _ in 0..100 {
            page.press("Tab");
            let at = page.evaluate(
                "(() => { const at = document.activeElement, look = getComputedStyle(at);
                   return { id: at === document.body ? 'body' : at.id || at.textContent.trim().split(' ')[0] || at.closest('li')?.dataset.code,
                     seen: at === document.body || at.matches(':focus-visible') && look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) >= 2 }; })()",
            );
            assert_eq!(
                at["seen"], true,
                "no focus is to be seen on {at} after {passed:?}"
            );
            let id = at["id"].as_str().unwrap_or_default().to_owned();
            passed.push(id.clone());
            if id == wanted {
                return;
            }
        }
        panic!("Tab never came to {wanted}: {passed:?}");
    };
    until(&mut page, "Skip");
    until(&mut page, "theme");
    page.press("Enter");
    assert_eq!(page.text("theme"), "Theme: light");
    page.press("Enter");
    assert_eq!(
        page.evaluate("getComputedStyle(document.documentElement).colorScheme"),
        "dark"
    );
    until(&mut page, "whole");
    page.press(" ");
    assert_eq!(page.evaluate("sky.view === EVERYTHING"), true);
    until(&mut page, "join20");
    page.press("Enter");
    joined(&mut page, 20);
    until(&mut page, "leave");
    page.press("Enter");
    joined(&mut page, 0);
    until(&mut page, "find");
    for letter in ["h", "o", "n", "o"] {
        page.press(letter);
    }
    until(&mut page, "HNL");
    page.press(" ");
    joined(&mut page, 1);
    page.picture("keyboard");
    until(&mut page, "log");
    // After the last element, the focus leaves the page: nothing holds it.
    until(&mut page, "body");
    assert!(passed.contains(&"hold".to_owned()), "{passed:?}");
    // The focus stays where it is while the stream goes on.
    assert_eq!(page.evaluate("location.hash"), "#HNL");
    no_complaint(&mut page);
}

#[test]
fn a_narrow_screen_needs_no_scrolling_to_the_side() {
    let board = Board::start(&["--speed", SPEED]);
    let narrow = Look {
        width: 360,
        height: 740,
        ..DESK
    };
    let mut page = open(&board, "ORD,DFW,ATL,LAX,PHX,STL", &narrow);
    page.wait("messages come", "totals.received > 30");
    page.picture("narrow");
    page.evaluate("element('join20').click()");
    joined(&mut page, 20);
    for width in [360, 320, 700, 1000] {
        page.size(width, 740);
        let fits = "[document.documentElement.scrollWidth <= innerWidth, innerWidth]";
        let fits = page.evaluate(fits);
        assert_eq!(
            fits,
            json!([true, width]),
            "the page is wider than {width} px"
        );
    }
    // Fingers need room: WCAG 2.2 asks for 24 px at least.
    let small = page.evaluate(
        "[...document.querySelectorAll('button, #list label, #find')]
           .filter(at => at.getBoundingClientRect().height < 24).map(at => at.textContent)",
    );
    assert_eq!(small, json!([]));
    no_complaint(&mut page);
}

#[test]
fn text_is_readable_in_light_and_dark() {
    let board = Board::start(&["--speed", SPEED]);
    for dark in [false, true] {
        let mut page = open(&board, "ORD", &Look { dark, ..DESK });
        let contrasts = page.evaluate(
            "(() => { const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(n => n / 255)
                   .map(n => n <= .04045 ? n / 12.92 : ((n + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
               const of = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
               const paper = getComputedStyle(document.body).backgroundColor;
               return ['ink', 'quiet', 'accent', 'late'].flatMap(name => [[name, of(colours[name], colours.panel)],
                 [name + ' on paper', of(colours[name], paper)]]); })()",
        );
        for one in contrasts.as_array().expect("a list") {
            assert!(
                one[1].as_f64().is_some_and(|contrast| contrast >= 4.5),
                "{one}, dark: {dark}"
            );
        }
    }
}

#[test]
fn without_motion_aircraft_move_once_a_second() {
    let board = Board::start(&["--speed", SPEED]);
    let mut page = open(
        &board,
        "ORD,DFW,ATL",
        &Look {
            still: true,
            ..DESK
        },
    );
    let pictures = page.evaluate(
        "new Promise(done => { let count = 0; const paint = sky.paint; sky.paint = function () { count += 1; paint.call(this); };
           setTimeout(() => done(count), 3000); })",
    );
    assert!(
        pictures
            .as_u64()
            .is_some_and(|count| (1..=4).contains(&count)),
        "{pictures}"
    );
}

#[test]
fn what_a_server_sends_is_shown_and_never_run() {
    let board = Board::start(&["--speed", SPEED]);
    let mut page = open(&board, "ORD", &DESK);
    page.evaluate(
        "(() => { const evil = '<img src=x onerror=\"document.title=1\">';
           const ord = channels.get('ORD'), timestamp = '2001-01-01T00:00:00.5Z';
           const body = { seq: (ord.seq ?? 0) + 1, epoch: ord.epoch, from: evil, to: evil, left: evil, delay: evil, flight: 1, off: 0, on: 0 };
           ord.hear(JSON.stringify({ type: 'arrived', timestamp, body }));
           ord.hear(JSON.stringify({ type: 'error', errorBody: { Title: evil } }));
           ord.hear(evil); })()",
    );
    page.wait("it is shown", "element('log').textContent.includes('<img')");
    assert_eq!(page.evaluate("document.images.length"), 0);
    assert_eq!(page.evaluate("document.title.startsWith('Board')"), true);
    page.wait("the stream goes on", "channels.get('ORD').received > 5");
    no_complaint(&mut page);
}

#[test]
fn an_address_that_is_no_text_chooses_what_it_can() {
    let board = Board::start(&["--speed", SPEED]);
    let mut page = Page::open(&board.url("#%zz,ORD"), &DESK);
    joined(&mut page, 1);
    assert_eq!(page.evaluate("location.hash"), "#ORD");
    no_complaint(&mut page);
    let mut page = Page::open(&board.url("#ORD%2CDFW"), &DESK);
    joined(&mut page, 2);
}

#[test]
fn what_was_sent_is_held_and_counted_meanwhile() {
    let board = Board::start(&["--speed", SPEED]);
    let mut page = open(&board, "ORD,DFW", &DESK);
    page.wait(
        "messages come",
        "document.querySelectorAll('#log li').length > 3",
    );
    page.evaluate("element('hold').click()");
    let held = page.evaluate("element('log').textContent");
    let received = page.evaluate("totals.received");
    page.wait("more come", &format!("totals.received > {received} + 20"));
    assert_eq!(page.evaluate("element('log').textContent"), held);
}
