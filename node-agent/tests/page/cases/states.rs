//! The states of the page that several cases visit.

use crate::harness::browser::Browser;
use crate::harness::site::Site;

/// A state: the data behind the page, and what its URL asks for.
pub struct State {
    pub name: &'static str,
    /// Scene of the stand-in.
    pub scene: &'static str,
    /// Query of the page; `PORT` stands for the fingerprint of the first row.
    pub query: &'static str,
    /// True if the page says that it waits for data, and goes on waiting.
    pub waits: bool,
}

const fn state(name: &'static str, scene: &'static str, query: &'static str) -> State {
    State { name, scene, query, waits: false }
}

pub const STATES: [State; 16] = [
    state("few", "few", ""),
    state("few_table", "few", "view=table"),
    state("few_detail", "few", "port=PORT"),
    state("few_chart_of_a_phone", "few", "tab=chart"),
    state("none", "none", ""),
    state("filtered_to_nothing", "few", "q=nothing-has-this-name"),
    state("thousands", "thousands", ""),
    state("thousands_table", "thousands", "view=table&severity=critical"),
    state("hostile", "hostile", ""),
    state("hostile_table", "hostile", "view=table"),
    state("hostile_detail", "hostile", "port=PORT"),
    state("partial", "partial", ""),
    state("old_agent", "old", ""),
    state("unknown_parameter", "few", "colour=red"),
    State { waits: true, ..state("loading", "slow", "") },
    State { waits: true, ..state("unreachable", "dead", "") },
];

impl State {
    /// Opens the page in this state, and waits until it is drawn.
    pub async fn open(&self, browser: &Browser, site: &Site) {
        let mut query = self.query.to_owned();
        if query.contains("PORT") {
            query = query.replace("PORT", &site.first().await);
        }
        browser.goto(&site.page(&query)).await;
        if self.waits {
            browser
                .until(
                    "the page says that it waits",
                    "return Boolean(document.querySelector('h1')?.innerText.trim())",
                )
                .await;
        } else {
            browser.until("the page has drawn its first answer", "return page.isDrawn()").await;
        }
        browser.frames().await;
    }
}
