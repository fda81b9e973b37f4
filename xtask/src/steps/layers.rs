//! The steps of the packages under `crates/`.

use super::{BUILD, EXAMPLE, Step, TESTS, doc, smoke};
use crate::invocation::Invocation;
use crate::manifest;
use crate::tools::{self, Tool};
use std::fs;
use std::io;

/// Returns the steps of all packages, one package after the other.
pub(super) fn steps() -> io::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for layer in LAYERS {
        steps.extend(layer_steps(layer)?);
    }
    Ok(steps)
}

/// The packages under `crates/` that have steps of their own, and the arguments of their examples.
const LAYERS: &[Layer] = &[
    Layer {
        name: "broker",
        examples: &["chat", "workers -- memory:"],
        bench: true,
        tls: false,
        test_needs: &[],
    },
    Layer {
        name: "bus",
        examples: &["order_service"],
        bench: true,
        tls: false,
        test_needs: &[],
    },
    Layer {
        name: "examples",
        examples: &[],
        bench: false,
        // It depends on `kafka`, so it is built with the same feature.
        tls: true,
        // Its tests run the programs over each driver.
        test_needs: &[Tool::Servers],
    },
    Layer {
        name: "kafka",
        examples: &["orders -- mock"],
        bench: true,
        tls: true,
        // Some of its tests use a real server.
        test_needs: &[Tool::Servers],
    },
    Layer {
        name: "nats",
        examples: &[],
        // `cargo test` runs the benchmark.
        bench: false,
        tls: false,
        // Its tests start servers, old and new, kill them and restart them.
        test_needs: &[Tool::Servers],
    },
    Layer {
        name: "redis",
        examples: &[],
        bench: false,
        tls: false,
        // Its tests start servers, old and new, kill them and restart them.
        test_needs: &[Tool::Servers],
    },
    Layer {
        name: "sockets",
        examples: &[],
        // One of the benchmarks is the load of 5,000 connections.
        bench: true,
        tls: false,
        // Its tests start peers in other languages, and servers for many nodes.
        test_needs: &[Tool::Servers],
    },
];

/// A package under `crates/`. Its steps form a group with its name, so that they can be run alone.
struct Layer {
    name: &'static str,
    examples: &'static [&'static str],
    /// Whether it has benchmarks, each of which is run once.
    bench: bool,
    /// Whether it uses librdkafka, which takes a minute to build and is built once: with the
    /// feature `tls` and no other, or without that feature if OpenSSL's headers are not available.
    tls: bool,
    /// The tools that its tests need.
    test_needs: &'static [Tool],
}

/// Whether the feature is linted with others and not alone. Most of these features only turn on the
/// feature of the same name in `fanfeed-broker`, where it is linted alone. `clippy/members` lints
/// the bus with `broker` and `redis`, and the sockets with `nodes`. The fuzz targets build the bus
/// with `broker`.
fn is_linted_with_others(name: &str, feature: &str) -> bool {
    match name {
        "broker" => false,
        "bus" => feature != "tokio",
        "sockets" => !matches!(feature, "server" | "client"),
        _ => matches!(feature, "tracing" | "metrics"),
    }
}

/// Sets of features that are linted together, besides each feature alone and all of them: one has
/// code that only the other uses, and the remaining features are off.
fn linted_together(name: &str) -> &'static [&'static str] {
    match name {
        "sockets" => &["server,tracing", "client,metrics"],
        _ => &[],
    }
}

/// Returns the steps of a layer, with replacements where its feature `tls` cannot be built.
fn layer_steps(layer: &Layer) -> io::Result<Vec<Step>> {
    if !layer.tls {
        return layer_steps_with(layer, " --all-features");
    }
    let without = layer_steps_with(layer, "")?;
    let steps = layer_steps_with(layer, " --features tls")?.into_iter();
    let steps = steps.zip(without);
    Ok(steps
        .map(|(step, without)| step.otherwise(Tool::OpenSsl, without))
        .collect())
}

fn layer_steps_with(layer: &Layer, every: &str) -> io::Result<Vec<Step>> {
    let Layer { name, .. } = layer;
    let package = format!("fanfeed-{name}");
    let clippy = |step: &str, flags: &str| {
        let line = format!("cargo clippy -p {package} --all-targets{flags} -- -D warnings");
        Step::run(format!("{name}/{step}"), Invocation::new(&line, BUILD)).needs(&[Tool::Clippy])
    };
    let mut steps = Vec::new();
    if layer.tls {
        steps.push(clippy("clippy", every));
    } else {
        let manifest = fs::read_to_string(format!("crates/{name}/Cargo.toml"))?;
        steps.push(clippy("clippy-none", " --no-default-features"));
        for feature in manifest::features(&manifest)
            .iter()
            .filter(|feature| !is_linted_with_others(name, feature))
        {
            let flags = format!(" --no-default-features --features {feature}");
            steps.push(clippy(&format!("clippy-{feature}"), &flags));
        }
        for features in linted_together(name) {
            let flags = format!(" --no-default-features --features {features}");
            let step = format!("clippy-{}", features.replace(',', "-"));
            steps.push(clippy(&step, &flags));
        }
        steps.push(clippy("clippy-all", every));
    }
    let oldest = format!("cargo {} check -p {package}{every}", tools::oldest());
    let oldest = Invocation::new(&oldest, BUILD);
    // Tests of TLS and tests in a browser have steps of their own.
    let rest = match *name {
        _ if layer.tls => " -- --skip tls::",
        "sockets" => " -- --skip browser::",
        _ => "",
    };
    steps.extend([
        Step::run(format!("{name}/msrv"), oldest).needs(&[Tool::Oldest]),
        Step::tests(
            format!("{name}/test"),
            Invocation::new(&format!("cargo test -p {package}{every}{rest}"), TESTS),
        )
        .needs(layer.test_needs),
        doc(
            &format!("{name}/doc"),
            &format!("cargo doc -p {package} --no-deps{every}"),
        ),
    ]);
    for example in layer.examples {
        let line = format!("cargo run -p {package}{every} --example {example}");
        let short = example.split(' ').next().unwrap_or_default();
        steps.push(Step::run(
            format!("{name}/example-{short}"),
            Invocation::new(&line, EXAMPLE),
        ));
    }
    if layer.bench {
        steps.push(Step::run(format!("{name}/bench"), smoke(&package, every)));
    }
    Ok(steps)
}
