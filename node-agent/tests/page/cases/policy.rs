//! The content security policy: the page never does what its own policy refuses, and makes no error, in any state.

use libtest_mimic::Trial;

use super::case;
use super::states::STATES;
use crate::harness::browser::{Browser, Theme};
use crate::harness::site::Site;

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![case("policy/no_state_violates_it_or_throws", driver, all_states)]
}

async fn all_states(driver: String) {
    let browser = Browser::start(&driver).await;
    let mut wrong = Vec::new();
    for state in &STATES {
        let site = Site::of(state.scene).await;
        for (width, theme) in [(1440, Theme::Light), (390, Theme::Dark)] {
            browser.size(width, 1000).await;
            browser.media(theme, &[]).await;
            state.open(&browser, &site).await;
            // The controls that are there at the beginning: all kinds of them are among the first.
            browser.run("for (const one of page.all('button').slice(0, 60)) if (one.isConnected && page.isSeen(one)) one.click()", &[]).await;
            browser.frames().await;
            let noted = browser.noted().await;
            let refused = browser
                .complaints()
                .await
                .into_iter()
                .filter(|line| line.contains("Content Security Policy"));
            wrong.extend(
                noted.into_iter().chain(refused).map(|what| format!("{}, {width} px: {what}", state.name)),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
