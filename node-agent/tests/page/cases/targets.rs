//! Sizes of controls, zoom, and motion.

use libtest_mimic::Trial;
use serde_json::json;

use super::case;
use super::states::{STATES, State};
use crate::harness::browser::{Browser, Theme};
use crate::harness::site::Site;

const TARGETS: &str = include_str!("../js/targets.js");
const LAYOUT: &str = include_str!("../js/layout.js");
/// Minimum size of a control in CSS pixels, by the width of the viewport.
const LEAST: [(u32, u32); 3] = [(1440, 24), (720, 30), (390, 30)];

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![
        case("targets/each_control_has_24_pixels_and_30_on_phones", driver, sizes),
        case("targets/at_200_percent_nothing_is_cut_or_lies_on_another", driver, zoom),
        case("targets/with_reduced_motion_nothing_moves", driver, motion),
    ]
}

fn settled() -> impl Iterator<Item = &'static State> {
    STATES.iter().filter(|state| !state.waits)
}

async fn sizes(driver: String) {
    let browser = Browser::start(&driver).await;
    let mut wrong = Vec::new();
    for state in settled() {
        let site = Site::of(state.scene).await;
        for (width, least) in LEAST {
            browser.size(width, 1000).await;
            state.open(&browser, &site).await;
            let small: Vec<String> = browser.read(TARGETS, &[json!(least)]).await;
            wrong.extend(small.into_iter().map(|what| format!("{}, {width} px: {what}", state.name)));
        }
    }
    assert!(wrong.is_empty(), "{} controls are too small:\n{}", wrong.len(), wrong.join("\n"));
}

/// Zooming to 200 % halves the viewport of 1440 × 1000 and doubles the pixels.
async fn zoom(driver: String) {
    let browser = Browser::start(&driver).await;
    let mut wrong = Vec::new();
    for state in settled() {
        let site = Site::of(state.scene).await;
        let metrics = json!({"width": 720, "height": 500, "deviceScaleFactor": 2, "mobile": false});
        browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        state.open(&browser, &site).await;
        let complaints: Vec<String> = browser.read(LAYOUT, &[]).await;
        wrong.extend(complaints.into_iter().map(|what| format!("{}: {what}", state.name)));
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

async fn motion(driver: String) {
    let browser = Browser::start(&driver).await;
    browser.media(Theme::Light, &[("prefers-reduced-motion", "reduce")]).await;
    let moving = "const long = (list) => list.split(',').some((time) => parseFloat(time) > .001);
        const slow = page.all('*').filter((at) => { const s = getComputedStyle(at);
            return (s.transitionProperty !== 'none' && long(s.transitionDuration))
                || (s.animationName !== 'none' && long(s.animationDuration)) || s.scrollBehavior === 'smooth'; });
        const running = document.getAnimations().map((one) => `runs: ${one.animationName ?? one.transitionProperty}`);
        return [...slow.slice(0, 8).map(page.nameOf), ...running]";
    for state in &STATES {
        let site = Site::of(state.scene).await;
        state.open(&browser, &site).await;
        let moving: Vec<String> = browser.read(moving, &[]).await;
        assert!(moving.is_empty(), "{}: {moving:#?}", state.name);
    }
}
