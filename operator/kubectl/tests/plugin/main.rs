//! The plugin as a whole: what it prints, against files; what it asks and writes, against an API
//! server in memory.

mod docs;
mod fixtures;
mod golden;
mod report;
mod server;
mod shell;
