//! One server, where the crate was built without brokers: the same as `nodes.rs` has.

use fanfeed_sockets::{Server, ServerBuilder};

pub(crate) struct Nodes;

impl Nodes {
    pub(crate) fn connect(url: Option<&str>) -> Result<Self, String> {
        match url {
            Some(_) => Err("`--broker` needs `--features nodes` for cargo".to_owned()),
            None => Ok(Self),
        }
    }

    pub(crate) fn join(&self, builder: ServerBuilder) -> ServerBuilder {
        builder
    }

    pub(crate) fn leads(&self, _server: &Server) -> bool {
        true
    }

    pub(crate) fn close(&self) {}
}
