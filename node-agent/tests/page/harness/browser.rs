//! One headless Chromium: where it looks, what it emulates, what is read from the page, and what it noted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::wd::WindowHandle;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cdp::Extension;
use super::waiting::eventually;

/// Runs in every page before its own scripts: notes violations of its policy, its errors, and dialogs.
const WITNESS: &str = include_str!("../js/witness.js");

/// A browser with one tab, closed when dropped together with its profile.
pub struct Browser {
    client: Option<Client>,
    profile: PathBuf,
}

/// Colours that a page is asked to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Light,
    Dark,
}

impl Theme {
    pub const BOTH: [Self; 2] = [Self::Light, Self::Dark];

    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// Returns a directory below cargo's target directory.
pub fn target(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target").join(name)
}

impl Browser {
    /// Starts a browser.
    pub async fn start(driver: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let profile = target(&format!("page-profile-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&profile).expect("a profile");
        let profile = profile.canonicalize().expect("a profile");
        let capabilities = json!({
            "unhandledPromptBehavior": "ignore",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {
                "args": [
                    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    "--force-color-profile=srgb", "--hide-scrollbars", "--window-size=1440,1000",
                    "--enable-precise-memory-info",
                    format!("--user-data-dir={}", profile.display()),
                ],
            },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("made above") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(driver)
            .await
            .expect("a browser starts");
        let browser = Self { client: Some(client), profile };
        browser.prepare_tab().await;
        let clipboard = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]});
        browser.devtools("Browser.grantPermissions", clipboard).await;
        browser
    }

    /// Prepares the tab before its first page.
    async fn prepare_tab(&self) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": WITNESS})).await;
        // Some things, such as the clipboard, are only for a page that has the focus.
        self.devtools("Emulation.setFocusEmulationEnabled", json!({"enabled": true})).await;
    }

    /// Opens a second tab and goes on in it. Returns the first and the second.
    pub async fn second_tab(&self) -> (WindowHandle, WindowHandle) {
        let first = self.client().window().await.expect("a tab");
        let second = self.client().new_window(true).await.expect("a tab").handle;
        self.client().switch_to_window(second.clone()).await.expect("switches");
        self.prepare_tab().await;
        (first, second)
    }

    pub fn client(&self) -> &Client {
        self.client.as_ref().expect("until dropped")
    }

    /// Opens an address and waits until the page has drawn what it got.
    pub async fn open(&self, url: &str) {
        self.goto(url).await;
        self.settled().await;
    }

    /// Opens an address without waiting for the page's data.
    pub async fn goto(&self, url: &str) {
        self.client().goto(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Waits until the page is not loading, and until two frames later.
    pub async fn settled(&self) {
        self.until("the page has drawn its first answer", "return page.isDrawn()").await;
        self.frames().await;
    }

    /// Waits until the browser has drawn two frames.
    pub async fn frames(&self) {
        let script =
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done(1)))";
        self.client().execute_async(script, Vec::new()).await.expect("frames");
    }

    /// Runs a script in the page. `page` in it is what js/witness.js defines.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> Value {
        let script = format!("const page = window.__page;\n{script}");
        let result = self.client().execute(&script, arguments.to_vec()).await;
        result.unwrap_or_else(|error| panic!("{error}\n{script}"))
    }

    /// Runs a script and converts what it returns.
    pub async fn read<T: DeserializeOwned>(&self, script: &str, arguments: &[Value]) -> T {
        let value = self.run(script, arguments).await;
        serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}\n{script}"))
    }

    /// Waits until a script returns true.
    pub async fn until(&self, what: &str, script: &str) {
        eventually(what, async || match self.run(script, &[]).await {
            Value::Bool(true) => Ok(()),
            other => Err(format!("{other}; the page says: {}", self.words().await)),
        })
        .await;
    }

    /// Returns the beginning of the page's visible text.
    pub async fn words(&self) -> String {
        self.read("return document.body.innerText.slice(0, 600)", &[]).await
    }

    /// Runs a command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let answer = self.client().issue_cmd(Extension::devtools(command, &parameters)).await;
        answer.unwrap_or_else(|error| panic!("{command} {parameters}: {error}"))
    }

    /// Sets the size of the viewport in CSS pixels.
    pub async fn size(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Emulates a theme, and other features of media by name and value.
    pub async fn media(&self, theme: Theme, others: &[(&str, &str)]) {
        let mut features = vec![json!({"name": "prefers-color-scheme", "value": theme.name()})];
        features.extend(others.iter().map(|(name, value)| json!({"name": name, "value": value})));
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Presses keys one after the other, given as WebDriver writes them.
    pub async fn press(&self, keys: &str) {
        let mut actions = KeyActions::new("keys".to_owned());
        for value in keys.chars() {
            actions = actions.then(KeyAction::Down { value }).then(KeyAction::Up { value });
        }
        self.client().perform_actions(actions).await.expect("presses");
    }

    /// Returns what the page noted since it was opened: violations of its policy, errors, dialogs.
    pub async fn noted(&self) -> Vec<String> {
        self.read("return page.noted", &[]).await
    }

    /// Returns the addresses of all requests since the last call.
    pub async fn requests(&self) -> Vec<String> {
        let entries = self.log("performance").await;
        let sent = entries.iter().filter_map(|entry| {
            let text = entry.get("message")?.as_str()?;
            let message = serde_json::from_str::<Value>(text).ok()?["message"].take();
            (message["method"] == "Network.requestWillBeSent")
                .then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        });
        sent.collect()
    }

    /// Returns the messages of the console since the last call that are errors or about security.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.log("browser").await;
        let is_bad = |entry: &&Value| entry["level"] == "SEVERE" || entry["source"] == "security";
        entries.iter().filter(is_bad).map(|entry| entry["message"].to_string()).collect()
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.client().issue_cmd(Extension::log(kind)).await.expect("a log");
        log.as_array().cloned().unwrap_or_default()
    }

    /// Writes a picture of the viewport to `target/page/NAME.png`.
    pub async fn picture(&self, name: &str) {
        let directory = target("page");
        std::fs::create_dir_all(&directory).expect("a directory");
        let picture = self.client().screenshot().await.expect("a picture");
        std::fs::write(directory.join(format!("{name}.png")), picture).expect("writes");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // A browser that a failing case leaves is closed too.
            let runtime = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| {
                let _ = runtime.block_on(client.close());
            });
        }
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
