//! Widths and themes: nothing scrolls sideways, no text lies on another, no word is broken in two. Each state is also drawn to
//! `target/page/` for a person to look at.

use libtest_mimic::Trial;

use super::case;
use super::states::{STATES, State};
use crate::harness::browser::{Browser, Theme};
use crate::harness::site::Site;

/// Widths of the viewport in CSS pixels.
const WIDTHS: [u32; 5] = [1920, 1440, 1080, 720, 390];
const LAYOUT: &str = include_str!("../js/layout.js");

pub fn cases(driver: &str) -> Vec<Trial> {
    let of_state = |state: &'static State| {
        let name = format!("layout/{}_fits_every_width_in_both_themes", state.name);
        case(name, driver, async move |driver| fits(&driver, state).await)
    };
    STATES.iter().map(of_state).collect()
}

async fn fits(driver: &str, state: &State) {
    let site = Site::of(state.scene).await;
    let browser = Browser::start(driver).await;
    let mut wrong = Vec::new();
    for width in WIDTHS {
        browser.size(width, 1000).await;
        state.open(&browser, &site).await;
        for theme in Theme::BOTH {
            browser.media(theme, &[]).await;
            browser.frames().await;
            let complaints: Vec<String> = browser.read(LAYOUT, &[]).await;
            wrong.extend(complaints.into_iter().map(|what| format!("{width} px, {}: {what}", theme.name())));
            if width != 1920 {
                browser.picture(&format!("{}-{width}-{}", state.name, theme.name())).await;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", state.name, wrong.len(), wrong.join("\n"));
}
