//! Makes missing streams, and checks existing ones.

use fanfeed_broker::ConnectError;
use serde_json::{Value, json};

use crate::api::{ApiError, ApiFault, NO_STREAM};
use crate::config::Config;
use crate::link::Wire;

/// More than any stream needs. Without a number, newer servers stop at 1,000.
const CONSUMERS: u64 = 1_000_000;
/// The field of a stream's state with the time when the stream was made. It differs for each stream
/// of one name.
pub(crate) const CREATED: &str = "created";

/// Ensures that the stream of all keys exists, and returns its state.
pub(crate) async fn ensure(wire: &Wire) -> Result<Value, ConnectError> {
    let names = &wire.shared.names;
    let (name, subjects) = (names.stream().to_owned(), names.all());
    ensure_stream(wire, &name, &subjects)
        .await
        .map_err(ApiFault::connecting)
}

/// Ensures that the stream of dead letters exists.
pub(crate) async fn ensure_dead(wire: &Wire) -> Result<(), ApiFault> {
    let names = &wire.shared.names;
    ensure_stream(wire, &names.dead_stream(), &names.all_dead())
        .await
        .map(drop)
}

async fn ensure_stream(wire: &Wire, name: &str, subjects: &str) -> Result<Value, ApiFault> {
    let found = match wire.ask(&format!("STREAM.INFO.{name}"), &Value::Null).await {
        Err(ApiFault::Refused(error)) if error.number == NO_STREAM => {
            let wanted = wanted(&wire.shared.config, name, subjects);
            // It is not an error if another broker makes the stream at the same time, unless with
            // another configuration.
            match wire.ask(&format!("STREAM.CREATE.{name}"), &wanted).await {
                Ok(made) => made,
                Err(ApiFault::Refused(refused)) => {
                    match wire.ask(&format!("STREAM.INFO.{name}"), &Value::Null).await {
                        // No broker has made it. The refusal says why.
                        Err(ApiFault::Refused(error)) if error.number == NO_STREAM => {
                            return Err(ApiFault::Refused(refused));
                        }
                        other => other?,
                    }
                }
                Err(fault) => return Err(fault),
            }
        }
        other => other?,
    };
    match unfit(&found["config"], subjects) {
        None => {
            let mut state = found["state"].clone();
            state[CREATED] = found["created"].clone();
            Ok(state)
        }
        Some(why) => Err(ApiFault::Refused(ApiError::own(format!(
            "the stream `{name}` cannot be used: {why}; change it, or choose another prefix"
        )))),
    }
}

fn wanted(config: &Config, name: &str, subjects: &str) -> Value {
    let nanoseconds = |age: std::time::Duration| u64::try_from(age.as_nanos()).unwrap_or(0);
    json!({
        "name": name,
        "subjects": [subjects],
        "retention": "limits",
        "max_consumers": CONSUMERS,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": config.max_age.map_or(0, nanoseconds),
        "max_msgs_per_subject": config.max_per_key.map_or(-1, |most| i64::try_from(most).unwrap_or(-1)),
        "max_msg_size": -1,
        "storage": if config.memory { "memory" } else { "file" },
        "discard": "old",
        "num_replicas": config.replicas,
        "duplicate_window": 120_000_000_000_u64,
    })
}

/// Returns the setting with which a stream would break a promise, if there is one.
fn unfit(found: &Value, subjects: &str) -> Option<String> {
    let has = found["subjects"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one == subjects));
    if !has {
        return Some(format!("its subjects lack `{subjects}`"));
    }
    if found["retention"] != "limits" {
        return Some(format!(
            "its retention is {}, and has to be `limits`",
            found["retention"]
        ));
    }
    for field in ["no_ack", "sealed"] {
        if found[field] == true {
            return Some(format!("it has `{field}`"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{unfit, wanted};
    use crate::config::Config;
    use serde_json::json;

    #[test]
    fn what_is_made_is_fit() {
        let made = wanted(&Config::new("h", 1), "p", "p.k.>");
        assert_eq!(unfit(&made, "p.k.>"), None);
    }

    #[test]
    fn what_breaks_a_promise_is_named() {
        let good = json!({ "subjects": ["p.k.>"], "retention": "limits" });
        for (field, value, says) in [
            ("subjects", json!(["q.k.>"]), "lack `p.k.>`"),
            ("retention", json!("workqueue"), "workqueue"),
            ("no_ack", json!(true), "no_ack"),
            ("sealed", json!(true), "sealed"),
        ] {
            let mut found = good.clone();
            found[field] = value;
            let why = unfit(&found, "p.k.>").unwrap();
            assert!(why.contains(says), "{why}");
        }
    }
}
