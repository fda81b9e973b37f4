//! The example `board`: its server, and its page in a headless Chromium. How a page is driven:
//! `devtools.rs`.

mod browser;
mod devtools;
mod example;
mod nodes;
mod served;
