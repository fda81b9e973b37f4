//! WebSocket channels: a server and a client.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
