//! A page in a headless Chromium, driven over the DevTools protocol: commands and answers as JSON,
//! on a WebSocket.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use fanfeed_testkit::wait_for;
use serde_json::{Value, json};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Error, Message, WebSocket};

/// How long an answer or a condition may take: far above what either takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A page, alone in a browser of its own. The browser is killed on drop.
pub(crate) struct Page {
    browser: Child,
    folder: PathBuf,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    commands: u64,
    /// Errors that the browser reported since they were last taken.
    complaints: VecDeque<String>,
}

/// How the page is shown.
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
    pub(crate) still: bool,
}

pub(crate) const DESK: Look = Look {
    width: 1400,
    height: 1000,
    dark: false,
    still: false,
};

impl Page {
    /// Opens `url` in a new browser.
    pub(crate) fn open(url: &str, look: &Look) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // ORDERING: the number only has to differ from the others.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanfeed-board-{}-{number}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("the folder can be made");
        let browser = Command::new(chromium())
            // Nothing but the example's page is opened, and its sandbox does not start as root.
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args(["--disable-dev-shm-usage", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Chromium starts");
        let file = folder.join("DevToolsActivePort");
        let address = wait_for(PATIENCE, "Chromium says where it listens", || {
            let said = fs::read_to_string(&file).ok()?;
            let (port, path) = said.split_once('\n')?;
            Some(format!("ws://127.0.0.1:{port}{}", path.trim()))
        });
        let (socket, _) = tungstenite::connect(address.as_str()).expect("Chromium listens");
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            let limited = stream.set_read_timeout(Some(PATIENCE));
            limited.expect("a socket can have a timeout");
        }
        let mut page = Self {
            browser,
            folder,
            socket,
            session: None,
            commands: 0,
            complaints: VecDeque::new(),
        };
        page.attach(url, look);
        page
    }

    fn attach(&mut self, url: &str, look: &Look) {
        let target = self.command("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.command("Target.attachToTarget", target);
        self.session = session["sessionId"].as_str().map(str::to_owned);
        self.command("Runtime.enable", json!({}));
        self.command("Log.enable", json!({}));
        self.command("Page.enable", json!({}));
        self.size(look.width, look.height);
        let scheme = if look.dark { "dark" } else { "light" };
        let motion = if look.still {
            "reduce"
        } else {
            "no-preference"
        };
        let media = json!({ "features": [
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": motion },
        ] });
        self.command("Emulation.setEmulatedMedia", media);
        self.command("Page.navigate", json!({ "url": url }));
        let loaded = "document.readyState === 'complete' && location.href !== 'about:blank'";
        wait_for(PATIENCE, "the page has loaded", || {
            thread::sleep(Duration::from_millis(20));
            // While one page gives way to the other, there is none to ask.
            let answer = self.ask("Runtime.evaluate", json!({ "expression": loaded }));
            (answer.ok()?["result"]["value"] == true).then_some(())
        });
        // Several browsers run at once, and each has the focus.
        self.command("Page.bringToFront", json!({}));
        let focused = json!({ "enabled": true });
        self.command("Emulation.setFocusEmulationEnabled", focused);
    }

    /// Shows it on a screen of that size, in CSS pixels.
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.command("Emulation.setDeviceMetricsOverride", size);
    }

    /// What an expression of JavaScript gives. A promise is awaited.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let question =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.command("Runtime.evaluate", question);
        let failed = &answer["exceptionDetails"];
        assert!(failed.is_null(), "{expression}: {failed}");
        answer["result"]["value"].clone()
    }

    /// The text of the element with that id.
    pub(crate) fn text(&mut self, id: &str) -> String {
        let text = self.evaluate(&format!("document.getElementById('{id}').textContent"));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression of JavaScript is true.
    pub(crate) fn wait(&mut self, what: &str, expression: &str) {
        let condition = format!("!!({expression})");
        wait_for(PATIENCE, what, || {
            // The page needs the processor as well.
            thread::sleep(Duration::from_millis(20));
            (self.evaluate(&condition) == true).then_some(())
        });
    }

    /// Presses and releases a key: `Tab`, `Enter`, ` ` or a letter.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            " " => (32, " "),
            other => (0, other),
        };
        let mut event = json!({ "key": key, "code": key, "windowsVirtualKeyCode": code });
        event["type"] = "rawKeyDown".into();
        if !text.is_empty() {
            event["type"] = "keyDown".into();
            event["text"] = text.into();
        }
        self.command("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.command("Input.dispatchKeyEvent", event);
    }

    /// Writes a picture of the page into the folder of the tests' files.
    pub(crate) fn picture(&mut self, name: &str) {
        let answer = self.command("Page.captureScreenshot", json!({ "format": "png" }));
        let data = decode(answer["data"].as_str().expect("there is a picture"));
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("board-{name}.png"));
        fs::write(file, data).expect("the folder can be written");
    }

    /// The errors that the browser reported: exceptions, refused connections, what a policy
    /// forbids.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        self.complaints.drain(..).collect()
    }

    #[track_caller]
    fn command(&mut self, method: &str, parameters: Value) -> Value {
        let answer = self.ask(method, parameters);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Sends a command and gives its answer, or the error that the browser answered.
    fn ask(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.commands += 1;
        let mut command = json!({ "id": self.commands, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let sent = self.socket.send(Message::text(command.to_string()));
        sent.unwrap_or_else(|error| panic!("{method}: {error}"));
        loop {
            let answer = match self.socket.read() {
                Ok(Message::Text(answer)) => answer,
                Ok(_) => continue,
                // The test was stopped for a while, and has gone on.
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("{method}: {error}"),
            };
            let answer: Value = serde_json::from_str(&answer).expect("Chromium sends JSON");
            if answer["id"] == self.commands {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(error.clone()),
                };
            }
            self.complaints.extend(complaint(&answer));
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
        // Its children end a moment later, and may still hold a file.
        for _ in 0..100 {
            if fs::remove_dir_all(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn complaint(event: &Value) -> Option<String> {
    let details = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(details["exceptionDetails"].to_string()),
        "Log.entryAdded" if details["entry"]["level"] == "error" => {
            Some(details["entry"]["text"].as_str()?.to_owned())
        }
        _ => None,
    }
}

/// # Panics
/// If it is not installed.
fn chromium() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let files = env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    files
        .into_iter()
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!(
                "none of {names:?} is installed: apt-get install chromium. \
             `-- --skip browser::` leaves these tests out"
            )
        })
}

/// Base64 as the protocol has it: with padding, and without line ends.
fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: &u8| DIGITS.iter().position(|digit| digit == byte);
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for value in text.as_bytes().iter().map_while(digit) {
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
