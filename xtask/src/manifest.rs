//! Reads the names of the features from the root `Cargo.toml`. The steps do not list them, so that
//! a new feature is checked from its first day.

/// Returns the features of a manifest except `default`, in the order of the file.
pub(crate) fn features(manifest: &str) -> Vec<String> {
    let mut inside = false;
    // A feature may list its parts over several lines. Those lines are inside brackets and do not
    // name features.
    let mut open = 0_usize;
    let mut names = Vec::new();
    for line in manifest.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if open == 0 && line.starts_with('[') {
            inside = line == "[features]";
            continue;
        }
        if !inside {
            continue;
        }
        if open == 0
            && let Some((name, _)) = line.split_once('=')
        {
            names.push(name.trim().trim_matches('"').to_owned());
        }
        open = (open + line.matches('[').count()).saturating_sub(line.matches(']').count());
    }
    names.retain(|name| name != "default");
    names
}

#[cfg(test)]
mod tests {
    use super::features;

    #[test]
    fn features_are_read_in_order_and_default_is_none_of_them() {
        let manifest = "
            [package]
            name = \"x\"
            [features]
            default = []
            # a = []
            async = [\"dep:a\"] # why
            full = [
                \"async\",
            ]
            \"socket\" = []
            [dependencies]
            a = \"1\"
        ";
        assert_eq!(features(manifest), ["async", "full", "socket"]);
    }
}
