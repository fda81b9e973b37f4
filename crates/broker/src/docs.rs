//! Longer pages: how to choose a driver, how to write one, how to run one, and a map from the names
//! of other libraries.

#[doc = include_str!("docs/choosing.md")]
pub mod choosing {}

#[doc = include_str!("docs/names.md")]
pub mod names {}

#[doc = include_str!("docs/production.md")]
pub mod production {}

#[doc = include_str!("docs/writing.md")]
pub mod writing {}

#[cfg(test)]
mod tests {
    /// The conformance suite compares each row with the driver, in the driver's own tests.
    #[test]
    fn the_table_has_a_row_for_each_driver() {
        let page = include_str!("docs/choosing.md");
        let drivers = [
            "memory",
            "redis",
            "redis-pubsub",
            "nats-core",
            "nats-jetstream",
            "kafka",
        ];
        for driver in drivers {
            let rows = page.lines();
            let rows = rows.filter(|line| line.starts_with(&format!("| `{driver}` |")));
            assert_eq!(rows.count(), 1, "{driver}");
        }
    }
}
