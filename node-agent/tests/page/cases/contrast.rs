//! Colours: the contrast of every text with what is behind it, marks that are told apart without colour, forced colours.

use fantoccini::Client;
use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::json;

use super::case;
use super::states::{STATES, State};
use crate::harness::browser::{Browser, Theme};
use crate::harness::site::Site;
use crate::harness::vision::{self, Vision};

const CONTRAST: &str = include_str!("../js/contrast.js");
/// Hides all texts, so that a picture shows what is behind them. Returns a promise for two frames later.
const HIDE: &str = "const sheet = new CSSStyleSheet();
    sheet.replaceSync('*, ::placeholder { color: transparent !important; -webkit-text-fill-color: transparent !important; '
        + 'text-shadow: none !important; caret-color: transparent !important; transition: none !important; } '
        + 'svg text { fill: transparent !important; stroke: none !important; }');
    window.__hidden = sheet;
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];";
const SHOW: &str =
    "document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => sheet !== window.__hidden);";
/// Smallest distance of two marks: OKLab × 100.
const APART: f64 = 7.5;
/// Marks whose colours must differ.
const SEVERITIES: [&str; 5] = ["critical", "high", "medium", "low", "info"];

pub fn cases(driver: &str) -> Vec<Trial> {
    let of_state = |state: &'static State| {
        let name = format!("contrast/every_text_of_{}_has_a_contrast_of_4_5", state.name);
        case(name, driver, async move |driver| readable(&driver, state).await)
    };
    let mut cases: Vec<Trial> = STATES.iter().filter(|state| !state.waits).map(of_state).collect();
    cases.push(case("contrast/marks_are_told_apart_without_colour_vision", driver, marks));
    cases.push(case("contrast/marks_and_states_stay_with_forced_colours", driver, forced));
    cases
}

#[derive(Debug, Deserialize)]
pub struct Judgement {
    pub judged: u64,
    pub weak: Vec<String>,
}

pub async fn judge(browser: &Browser) -> Judgement {
    browser.run(HIDE, &[]).await;
    browser.frames().await;
    let picture = picture(browser.client()).await;
    browser.run(SHOW, &[]).await;
    browser.frames().await;
    let judged = browser.client().execute_async(CONTRAST, vec![json!(picture)]).await.expect("a judgement");
    serde_json::from_value(judged).expect("a judgement")
}

/// Returns a picture of the viewport as base64.
async fn picture(client: &Client) -> String {
    let devtools =
        crate::harness::cdp::Extension::devtools("Page.captureScreenshot", &json!({"format": "png"}));
    let answer = client.issue_cmd(devtools).await.expect("a picture");
    answer["data"].as_str().expect("base64").to_owned()
}

async fn readable(driver: &str, state: &State) {
    let site = Site::of(state.scene).await;
    let browser = Browser::start(driver).await;
    let mut wrong = Vec::new();
    // So high that nearly all is in the viewport.
    for (width, height) in [(1440, 2600), (390, 2600)] {
        browser.size(width, height).await;
        for theme in Theme::BOTH {
            browser.media(theme, &[]).await;
            state.open(&browser, &site).await;
            let Judgement { judged, weak } = judge(&browser).await;
            assert!(judged > 10, "only {judged} texts of {}", state.name);
            wrong.extend(weak.into_iter().map(|what| format!("{width} px, {}: {what}", theme.name())));
        }
    }
    assert!(wrong.is_empty(), "{} texts are too weak:\n{}", wrong.len(), wrong.join("\n"));
}

async fn marks(driver: String) {
    let site = Site::of("thousands").await;
    let browser = Browser::start(&driver).await;
    for theme in Theme::BOTH {
        browser.media(theme, &[]).await;
        browser.open(&site.page("")).await;
        let mut colours = Vec::new();
        for severity in SEVERITIES {
            let script = format!(
                "const mark = page.all('svg.mark.{severity}')[0]; if (!mark) return null;
                const style = getComputedStyle(mark.querySelector('.f, .o'));
                const [r, g, b] = (mark.querySelector('.f') ? style.fill : style.stroke).match(/[\\d.]+/g).map(Number);
                return [r, g, b];"
            );
            let colour: Option<[f64; 3]> = browser.read(&script, &[]).await;
            colours.push((severity, colour.unwrap_or_else(|| panic!("no mark for {severity} is drawn"))));
        }
        for (index, (one, colour)) in colours.iter().enumerate() {
            for (other, another) in &colours[index + 1..] {
                for seen_by in Vision::ALL {
                    let distance = vision::distance(*colour, *another, seen_by);
                    let theme = theme.name();
                    assert!(distance >= APART, "{one} and {other} for {seen_by:?}, {theme}: {distance:.1}");
                }
            }
        }
        let shapes = "return [...new Set(['critical', 'high', 'medium', 'low', 'info'].map((severity) =>
            page.all(`svg.mark.${severity} > :is(.f, .o)`).map((shape) =>
                `${shape.tagName} ${shape.getAttribute('d')} ${shape.getAttribute('class')}`)[0]))].length";
        assert_eq!(
            browser.read::<usize>(shapes, &[]).await,
            SEVERITIES.len(),
            "each severity has a shape of its own"
        );
    }
}

async fn forced(driver: String) {
    let site = Site::of("few").await;
    let browser = Browser::start(&driver).await;
    for theme in Theme::BOTH {
        browser.media(theme, &[("forced-colors", "active")]).await;
        browser.open(&site.page("")).await;
        assert_eq!(
            browser.run("return matchMedia('(forced-colors: active)').matches", &[]).await,
            json!(true)
        );
        // The browser chooses the colours of texts and what is behind them: marks and states are the page's.
        // What presses shows its state by more than its background, which forced colours take away.
        let hidden = "return page.all('[aria-pressed=true]').filter((on) => {
            const off = page.all('[aria-pressed=false]', on.parentElement)[0];
            if (!off) return false;
            const look = (at) => { const s = getComputedStyle(at);
                return [s.borderColor, s.borderWidth, s.borderStyle, s.outlineStyle, s.fontWeight, s.color, s.backgroundColor,
                    s.textDecorationLine].join(); };
            return look(on) === look(off); }).map(page.nameOf)";
        let hidden: Vec<String> = browser.read(hidden, &[]).await;
        assert!(hidden.is_empty(), "pressed or not looks the same: {hidden:#?}");
        let unseen = "return page.all('svg.mark').filter((mark) => { const s = getComputedStyle(mark.querySelector('.f, .o, .d'));
            const ground = getComputedStyle(document.body).backgroundColor;
            return s.fill === ground && (s.stroke === ground || s.stroke === 'none'); }).length";
        assert_eq!(browser.read::<usize>(unseen, &[]).await, 0, "marks have the colour of the page");
    }
}
