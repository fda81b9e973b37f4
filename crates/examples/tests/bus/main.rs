//! The bus over servers: in this process, and as the processes of an order service.

mod processes;
mod servers;
