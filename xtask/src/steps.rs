//! The steps of `cargo xtask test`. Steps that fail fast come first.

mod layers;

use crate::examples::{self, How};
use crate::invocation::Invocation;
use crate::manifest;
use crate::programs::Programs;
use crate::tools::{self, Tool, Tools};
use crate::verdict;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

// The limits are far above the time that the work takes on two slow cores. They end commands that
// hang, and measure nothing.
const QUICK: Duration = minutes(5);
const BUILD: Duration = minutes(30);
const TESTS: Duration = minutes(30);
const MODELS: Duration = minutes(90);
const EXAMPLE: Duration = minutes(2);
/// A run takes about 10 s.
const FUZZ: Duration = minutes(5);

/// The variable that says under how many schedules each scheduler runs each program of shuttle.
const SCHEDULES: &str = "FANFEED_SHUTTLE_SCHEDULES";

/// How many programs each fuzz target runs besides its seeds. They take about 10 s.
const FUZZ_PROGRAMS: u32 = 4000;

/// One line of the summary. Its name is `group` or `group/part`.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) needs: Vec<Tool>,
    /// The programs to write before its command runs.
    pub(crate) programs: Option<Programs>,
    pub(crate) work: Work,
    /// Whether it runs beside the other steps. Such a step has a target folder of its own or builds
    /// in release, because Cargo lets only one command at a time build a profile.
    pub(crate) is_beside: bool,
    /// The work to do instead where this tool is not available.
    otherwise: Option<(Tool, Work)>,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Work {
    /// It passes if the command succeeds.
    Run(Invocation),
    /// It passes if the command succeeds and the function accepts its output.
    Judge(Invocation, fn(&str) -> Result<(), String>),
    /// It is not run, for this reason.
    Leave(String),
}

impl Step {
    pub(crate) fn new(name: impl Into<String>, work: Work) -> Self {
        Step {
            name: name.into(),
            needs: Vec::new(),
            programs: None,
            work,
            is_beside: false,
            otherwise: None,
        }
    }

    fn run(name: impl Into<String>, invocation: Invocation) -> Self {
        Step::new(name, Work::Run(invocation))
    }

    /// A step that runs tests. It fails if no test was run.
    fn tests(name: impl Into<String>, invocation: Invocation) -> Self {
        Step::new(name, Work::Judge(invocation, verdict::tests))
    }

    fn needs(mut self, tools: &[Tool]) -> Self {
        self.needs.extend(tools);
        self
    }

    fn beside(mut self) -> Self {
        self.is_beside = true;
        self
    }

    /// Sets the work of `step` as the work to do where `tool` is not available.
    fn otherwise(mut self, tool: Tool, step: Step) -> Self {
        self.otherwise = Some((tool, step.work));
        self
    }

    /// Decides which work it does on this machine. If that is the replacement, returns the reason.
    pub(crate) fn settle(&mut self, tools: &mut Tools) -> Option<&'static str> {
        let (tool, work) = self.otherwise.take()?;
        let reason = tools.ensure(tool).err()?;
        self.work = work;
        Some(reason)
    }

    /// Whether `wanted` is this step or its group.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        self.name == wanted || self.name.split('/').next() == Some(wanted)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.work {
            Work::Run(command) | Work::Judge(command, _) => {
                write!(f, "{:<24} {command}", self.name)
            }
            Work::Leave(reason) => write!(f, "{:<24} not run: {reason}", self.name),
        }
    }
}

/// Returns every step. The steps that run beside others run in this order, and so do the other
/// steps. The current folder has to be the workspace.
pub(crate) fn all() -> io::Result<Vec<Step>> {
    let features = manifest::features(&fs::read_to_string("Cargo.toml")?);
    let mut steps = vec![
        Step::run("fmt", Invocation::new("cargo fmt --all --check", QUICK)).needs(&[Tool::Rustfmt]),
        Step::new(
            "dependencies",
            Work::Judge(
                Invocation::new(
                    "cargo tree -p fanfeed -e normal --depth 1 --prefix none",
                    QUICK,
                ),
                verdict::dependencies,
            ),
        ),
    ];
    steps.extend(clippy(&features));
    let oldest = Invocation::new("cargo", BUILD)
        .arg(tools::oldest())
        .arg("check")
        .arg("-p")
        .arg("fanfeed")
        .arg("--all-features");
    steps.extend([
        Step::run("msrv", oldest).needs(&[Tool::Oldest]),
        Step::tests("test/xtask", Invocation::new("cargo test -p xtask", TESTS)),
        Step::tests(
            "test/soak",
            Invocation::new("cargo test -p fanfeed-soak", TESTS),
        ),
        Step::tests(
            "test/model-example",
            Invocation::new(&format!("cargo test{MODEL_EXAMPLE}"), TESTS),
        ),
        Step::tests(
            "test/default",
            Invocation::new("cargo test -p fanfeed", TESTS),
        ),
        Step::tests(
            "test/all",
            Invocation::new("cargo test -p fanfeed --all-features", TESTS),
        ),
    ]);
    // A test of the next step runs the examples. Cargo builds examples by itself only if it builds
    // all targets.
    steps.extend(examples()?.into_iter().map(Step::beside));
    steps.extend([
        Step::tests("test/release", release()?).beside(),
        // Only a nightly compiler checks the expected error codes.
        Step::tests(
            "refusals",
            Invocation::new(
                "cargo +nightly test -p fanfeed --all-features --doc refusals",
                TESTS,
            ),
        )
        .needs(&[Tool::Nightly]),
        Step::tests("test/plain-fences", plain_fences()).beside(),
        doc("doc/default", "cargo doc -p fanfeed --no-deps"),
        doc("doc/all", "cargo doc -p fanfeed --no-deps --all-features"),
    ]);
    steps.extend(layers::steps()?);
    steps.push(
        Step::tests(
            "kafka/tls",
            Invocation::new(
                "cargo test -p fanfeed-kafka --features tls --test tansu tls::",
                TESTS,
            ),
        )
        .needs(&[Tool::OpenSsl, Tool::Servers]),
    );
    steps.extend([
        // This example serves until it is killed. The tests run it, and Cargo builds it for them
        // only if it builds all targets.
        Step::run(
            "sockets/example-board",
            Invocation::new(
                "cargo build -p fanfeed-sockets --all-features --example board",
                BUILD,
            ),
        ),
        Step::tests(
            "sockets/browser",
            Invocation::new(
                "cargo test -p fanfeed-sockets --all-features --test board browser::",
                TESTS,
            ),
        )
        .needs(&[Tool::Chromium, Tool::Servers]),
    ]);
    steps.push(
        Step::tests(
            "testkit",
            Invocation::new("cargo test -p fanfeed-testkit", TESTS),
        )
        .needs(&[Tool::Servers]),
    );
    steps.extend([
        Step::new(
            "package/list",
            Work::Judge(
                Invocation::new("cargo package -p fanfeed --allow-dirty --list", QUICK),
                verdict::package,
            ),
        ),
        Step::run(
            "package/verify",
            Invocation::new("cargo package -p fanfeed --allow-dirty", BUILD),
        ),
        Step::tests("miri", miri())
            .needs(&[Tool::Nightly, Tool::Miri])
            .beside(),
        Step::tests("loom", loom()).beside(),
        Step::tests("shuttle", shuttle()).beside(),
        // A short run shows that the soak works. Run it for longer to find faults.
        Step::run(
            "soak",
            built_soon(Invocation::new(
                "cargo run --quiet -p fanfeed-soak --release -- --minutes 0.2",
                BUILD,
            )),
        )
        .beside(),
        Step::run("bench", smoke("fanfeed-benches", "")),
    ]);
    steps.extend(fuzz()?.into_iter().map(Step::beside));
    Ok(steps)
}

/// Lints the crate with each feature alone, because each must build without the others, with none,
/// and with all.
fn clippy(features: &[String]) -> Vec<Step> {
    let crate_with = |name: &str, flags: &str| {
        let line = format!("cargo clippy -p fanfeed --all-targets {flags} -- -D warnings");
        Step::run(format!("clippy/{name}"), Invocation::new(&line, BUILD))
    };
    let mut steps = vec![crate_with("none", "--no-default-features")];
    for feature in features {
        steps.push(crate_with(
            feature,
            &format!("--no-default-features --features {feature}"),
        ));
    }
    steps.push(crate_with("all", "--all-features"));
    let members = |features: &str| {
        let line = format!(
            "cargo clippy --workspace --exclude fanfeed --all-targets{features} -- -D warnings"
        );
        Step::run("clippy/members", Invocation::new(&line, BUILD))
    };
    // With the same feature as the steps of `kafka`, so that librdkafka is built once.
    let with_tls = members(" --features fanfeed-kafka/tls");
    steps.push(with_tls.otherwise(Tool::OpenSsl, members("")));
    // The code for a checker is only linted under the checker's cfg.
    for checker in ["loom", "shuttle"] {
        let example = if checker == "loom" { MODEL_EXAMPLE } else { "" };
        let models = format!("cargo clippy -p fanfeed-{checker}-tests{example} --all-targets");
        let models = modelled(checker, &models, BUILD);
        let step = Step::run(
            format!("clippy/{checker}"),
            models.arg("--").arg("-D").arg("warnings"),
        );
        steps.push(step.beside());
    }
    steps
        .into_iter()
        .map(|step| step.needs(&[Tool::Clippy]))
        .collect()
}

/// The flag of a checker, loom or shuttle, reaches every dependency. So each checker has a target
/// folder of its own: in a common one, each change of the flags would rebuild everything.
fn modelled(checker: &str, line: &str, limit: Duration) -> Invocation {
    Invocation::new(line, limit)
        .arg("--target-dir")
        .arg(format!("{}/{checker}", target_folder()))
        .env("RUSTFLAGS", &format!("--cfg fanfeed_{checker}"))
}

/// The crate that shows users how to model-check their own code.
const MODEL_EXAMPLE: &str = " -p fanfeed-model-checking-example";

/// The models. The packages that are not optimized only handle logs, and no model logs.
fn loom() -> Invocation {
    let line = format!("cargo test -p fanfeed-loom-tests{MODEL_EXAMPLE} --release");
    ["regex-automata", "regex-syntax", "tracing-subscriber"]
        .iter()
        .fold(
            built_soon(modelled("loom", &line, MODELS)),
            |models, package| {
                models
                    .arg("--config")
                    .arg(format!("profile.release.package.{package}.opt-level=0"))
            },
        )
}

/// The programs of shuttle, under half of their default number of schedules, unless the variable
/// sets a number.
fn shuttle() -> Invocation {
    let line = "cargo test -p fanfeed-shuttle-tests --release";
    let programs = built_soon(modelled("shuttle", line, MODELS));
    match std::env::var_os(SCHEDULES) {
        Some(_) => programs,
        None => programs.env(SCHEDULES, "5000"),
    }
}

/// Builds as users do: without the library's debug assertions, and with other timing.
fn optimized(command: &str, targets: &str, limit: Duration) -> Invocation {
    let line = format!("{command} -p fanfeed --release --all-features {targets}");
    built_soon(Invocation::new(&line, limit))
}

/// The tests whose result can depend on the profile. The others read the source, check what
/// compiles, or run the examples, which have steps of their own in this profile.
fn release() -> io::Result<Invocation> {
    let mut tests = Vec::new();
    for entry in fs::read_dir("tests")? {
        let path = entry?.path();
        let is_test =
            path.extension().is_some_and(|is| is == "rs") || path.join("main.rs").is_file();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if is_test && !["contracts", "examples", "floors"].contains(&&*name) {
            tests.push(format!("--test {name}"));
        }
    }
    tests.sort();
    let targets = format!("--lib {}", tests.join(" "));
    Ok(optimized("cargo test", &targets, TESTS))
}

/// Turns off link-time optimization and debug information, which takes a quarter off the build
/// time.
fn built_soon(release: Invocation) -> Invocation {
    release
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
}

/// Runs each bench once, to show that it works. Benches are built as tests are, without
/// optimization.
fn smoke(package: &str, features: &str) -> Invocation {
    let line = format!("cargo bench -p {package}{features} --profile dev -- --test");
    Invocation::new(&line, BUILD)
}

/// Tests the rings as they are without `membarrier`. The flag reaches every dependency, as in
/// [`modelled`], so this has a target folder of its own.
fn plain_fences() -> Invocation {
    Invocation::new(
        "cargo test -p fanfeed --all-features --test ring --test faults",
        TESTS,
    )
    .arg("--target-dir")
    .arg(format!("{}/plain-fences", target_folder()))
    .env("RUSTFLAGS", "--cfg fanfeed_plain_fences")
}

/// Unit tests under Miri, which checks each access to memory: those of the places where values are
/// written and read. Miri knows no `membarrier`, and takes a hundred times as long.
fn miri() -> Invocation {
    let line = "cargo +nightly miri test -p fanfeed --all-features --lib";
    let parts = [
        "feed::queue",
        "feed::record",
        "feed::gaps",
        "feed::joint",
        "feed::slots",
        "mux::",
        "scope::",
        "subscription::state",
    ];
    let tests = Invocation::new(line, TESTS)
        .arg("--target-dir")
        .arg(format!("{}/miri", target_folder()))
        .arg("--");
    parts
        .into_iter()
        .fold(tests, Invocation::arg)
        .env("RUSTFLAGS", "--cfg fanfeed_plain_fences")
        // Tests look at the clock, and `parking_lot` keeps pointers in integers.
        .env(
            "MIRIFLAGS",
            "-Zmiri-disable-isolation -Zmiri-permissive-provenance",
        )
}

pub(crate) fn target_folder() -> String {
    std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned())
}

fn doc(name: &str, line: &str) -> Step {
    Step::run(
        name,
        Invocation::new(line, BUILD).env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn examples() -> io::Result<Vec<Step>> {
    let examples = examples::in_folder(Path::new("examples"))?;
    let mut steps = Vec::new();
    if !examples.is_empty() {
        let build = optimized("cargo build", "--examples", BUILD);
        steps.push(Step::run("example", build));
    }
    for example in examples {
        let work = match example.how {
            How::Run(arguments) => {
                let program = format!("--example {}", example.name);
                let mut command = optimized("cargo run", &program, EXAMPLE);
                if !arguments.is_empty() {
                    command = command.arg("--");
                }
                Work::Run(arguments.into_iter().fold(command, Invocation::arg))
            }
            How::BuildOnly(reason) => Work::Leave(format!("only built: {reason}")),
        };
        steps.push(Step::new(format!("example/{}", example.name), work));
    }
    Ok(steps)
}

/// The package of the fuzz targets, which is not in the workspace, and a short run of each target,
/// which shows that it works. To find faults, run a target for longer, with a folder that keeps
/// what it finds.
fn fuzz() -> io::Result<Vec<Step>> {
    let folder = Path::new("fuzz/fuzz_targets");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut targets = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.push(
                path.file_stem()
                    .expect("it has an extension")
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    targets.sort();
    let fmt = Invocation::new("cargo fmt --all --check", QUICK).in_folder("fuzz");
    // Run in the package's folder: its `.cargo/config.toml` sets the flag that makes the library's
    // internals visible to the targets.
    let clippy = Invocation::new("cargo clippy --all-targets -- -D warnings", BUILD);
    let mut steps = vec![
        Step::run("fuzz/fmt", fmt).needs(&[Tool::Rustfmt]),
        Step::run("fuzz/clippy", clippy.in_folder("fuzz")).needs(&[Tool::Clippy]),
    ];
    let build = Invocation::new("cargo +nightly fuzz build", BUILD);
    let runs = std::iter::once(Step::run("fuzz/build", build))
        .chain(targets.iter().map(|target| fuzz_run(target)));
    steps.extend(runs.map(|step| step.needs(&[Tool::Nightly, Tool::CargoFuzz])));
    Ok(steps)
}

/// Runs the target's seeds, and programs that are generated from them. The programs are written
/// before the run, and the fuzzer generates none of its own (`-runs=0`). Its own programs depend on
/// what earlier programs covered, and so on the timing of waits and threads. So each run runs the
/// same programs, and a run that passes today passes tomorrow.
fn fuzz_run(target: &str) -> Step {
    let programs = Programs {
        seeds: format!("fuzz/seeds/{target}").into(),
        folder: format!("{}/fuzz/{target}", target_folder()).into(),
        count: FUZZ_PROGRAMS,
    };
    let folder = programs.folder.display();
    let line = format!("cargo +nightly fuzz run {target} {folder} -- -seed=1 -runs=0 -timeout=10");
    let mut step = Step::run(format!("fuzz/{target}"), Invocation::new(&line, FUZZ));
    step.programs = Some(programs);
    step
}

#[cfg(test)]
mod tests {
    use super::{Invocation, QUICK, Step, clippy};
    use crate::tools::{Tool, Tools};

    #[test]
    fn a_step_is_chosen_by_its_name_or_its_group() {
        let step = Step::run("clippy/all", Invocation::new("true", QUICK));
        assert!(step.is("clippy") && step.is("clippy/all"));
        assert!(!step.is("clip") && !step.is("clippy/none") && !step.is("all"));
    }

    #[test]
    fn librdkafka_is_built_with_tls_or_where_that_cannot_be_without() {
        std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
        let reason = "there are no headers";
        let mut tools = Tools::without(Tool::OpenSsl, reason);
        let building = |name: &str| {
            name == "clippy/members" || name.starts_with("kafka/") || name.starts_with("examples/")
        };
        let steps = super::all().unwrap();
        let mut settled = 0;
        for mut step in steps.into_iter().filter(|step| building(&step.name)) {
            assert!(
                step.to_string().contains("/tls") || step.to_string().contains("--features tls"),
                "{step}"
            );
            if step.needs.contains(&Tool::OpenSsl) {
                assert_eq!(step.name, "kafka/tls");
                continue;
            }
            assert_eq!(step.settle(&mut tools), Some(reason), "{step}");
            assert!(!step.to_string().contains("--features"), "{step}");
            settled += 1;
        }
        assert!(settled > 5, "{settled}");
    }

    #[test]
    fn every_feature_is_linted_alone() {
        let steps = clippy(&["async".to_owned(), "serde".to_owned()]);
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "clippy/none",
                "clippy/async",
                "clippy/serde",
                "clippy/all",
                "clippy/members",
                "clippy/loom",
                "clippy/shuttle"
            ]
        );
    }
}
