//! Positions as text: `PARTITION@OFFSET` of the last message that was received; several are
//! separated by commas.

use std::collections::BTreeMap;

/// The position of one message.
pub(crate) fn position(partition: i64, offset: i64) -> String {
    format!("{partition}@{offset}")
}

/// The last offset received of each partition, or `None` if the text is not a position.
pub(crate) fn parse(text: &str) -> Option<BTreeMap<i32, i64>> {
    let mut positions = BTreeMap::new();
    for part in text.split(',') {
        let (partition, offset) = part.split_once('@')?;
        let (partition, offset): (i32, i64) = (partition.parse().ok()?, offset.parse().ok()?);
        // No offset follows the largest one.
        if partition < 0 || offset < 0 || offset == i64::MAX {
            return None;
        }
        if positions.insert(partition, offset).is_some() {
            return None;
        }
    }
    Some(positions)
}

#[cfg(test)]
mod tests {
    use super::{parse, position};

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(parse(&position(3, 17)), Some([(3, 17)].into()));
        assert_eq!(parse("0@1,2@0"), Some([(0, 1), (2, 0)].into()));
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in [
            "",
            "1",
            "@",
            "1@",
            "a@1",
            "1@-1",
            "-1@1",
            "1@1,1@2",
            "1@1,",
            "0@9223372036854775807",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
