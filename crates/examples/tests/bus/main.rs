//! The bus over servers: in this process, and as the processes of an order service.

mod kafka;
mod malformed;
mod processes;
mod servers;
