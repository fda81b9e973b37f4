//! What can be set on the command line.

use std::net::SocketAddr;

use clap::Parser;

/// Carries a replay of flights to browsers: a channel an airport.
#[derive(Debug, Parser)]
#[command(name = "board")]
pub(crate) struct Options {
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = address)]
    pub(crate) listen: SocketAddr,

    /// How many times as fast as they happened the flights are replayed.
    #[arg(
        long,
        value_name = "FACTOR",
        allow_negative_numbers = true,
        default_value = "1800",
        value_parser = speed
    )]
    pub(crate) speed: f64,

    /// A broker that connects several of these servers, such as redis://localhost or
    /// nats://localhost?mode=core. Without one, this server stands alone.
    #[arg(long, value_name = "URL", verbatim_doc_comment)]
    pub(crate) broker: Option<String>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| "it has to be an IP address and a port, such as 127.0.0.1:8080".to_owned();
    text.parse().map_err(wrong)
}

/// At the upper limit, 5,000 messages are sent a second.
fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if factor > 0.0 && factor <= 1e6 => Ok(factor),
        _ => Err("it has to be a number above 0, and at most 1000000".to_owned()),
    }
}
