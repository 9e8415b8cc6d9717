//! The printed page: every finding is on it, and no name is cut.

use libtest_mimic::{Failed, Trial};
use portolan_report::chart::ChartRow;
use serde_json::json;

use super::case;
use crate::harness::browser::{Browser, Theme, target};
use crate::harness::site::Site;

/// Paper in inches.
const PAPER: [(&str, f64, f64); 2] = [("A4", 8.27, 11.69), ("Letter", 8.5, 11.0)];

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![
        case("print/every_finding_is_on_the_paper", driver, complete),
        case("print/no_name_is_cut_on_paper", driver, uncut),
        case("print/filters_and_agents_are_on_the_paper_in_words", driver, in_words),
    ]
}

/// Prints what the browser shows. Returns its text without spaces: names may break over lines.
async fn printed(
    browser: &Browser,
    name: &str,
    (paper, width, height): (&str, f64, f64),
) -> Result<String, Failed> {
    let parameters = json!({"paperWidth": width, "paperHeight": height, "printBackground": false});
    let answer = browser.devtools("Page.printToPDF", parameters).await;
    let directory = target("page");
    std::fs::create_dir_all(&directory)?;
    let base64 = directory.join(format!("{name}-{paper}.pdf.base64"));
    let pdf = directory.join(format!("{name}-{paper}.pdf"));
    std::fs::write(&base64, answer["data"].as_str().unwrap_or_default())?;
    let decoded = std::process::Command::new("base64").arg("-d").arg(&base64).output()?;
    std::fs::write(&pdf, decoded.stdout)?;
    std::fs::remove_file(base64)?;
    let text = std::process::Command::new("pdftotext").arg("-raw").arg(&pdf).arg("-").output();
    let text = text.map_err(|error| format!("pdftotext: {error}: run `cargo xtask setup --tests`"))?;
    Ok(String::from_utf8_lossy(&text.stdout).into_owned())
}

fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

async fn complete(driver: String) {
    for (scene, papers) in [("few", &PAPER[..]), ("thousands", &PAPER[..1])] {
        let site = Site::of(scene).await;
        let rows: Vec<ChartRow> =
            site.chart("").await.rows.into_iter().filter(|row| row.code.is_some()).collect();
        let browser = Browser::start(&driver).await;
        browser.media(Theme::Dark, &[]).await;
        browser.open(&site.page("")).await;
        for paper in papers.iter().copied() {
            let text = printed(&browser, scene, paper).await.unwrap_or_else(|error| panic!("{error:?}"));
            let text = squeezed(&text);
            let missing: Vec<_> = rows
                .iter()
                .filter(|row| {
                    let port = row.port.map_or_else(String::new, |port| port.to_string());
                    let name = row.workload.as_ref().or(None).map_or("", |workload| workload.name.as_str());
                    !(text.contains(&port)
                        && text.contains(&squeezed(name))
                        && text.contains(row.code.as_deref().unwrap_or_default()))
                })
                .map(|row| &row.fingerprint)
                .collect();
            assert!(
                missing.is_empty(),
                "{scene} on {}: {} of {} are missing: {missing:?}",
                paper.0,
                missing.len(),
                rows.len()
            );
            // A code stands once a finding, so that no row is left out.
            let codes: usize = distinct(&rows).iter().map(|code| text.matches(code.as_str()).count()).sum();
            assert!(codes >= rows.len(), "{scene} on {}: {codes} codes for {} findings", paper.0, rows.len());
        }
    }
}

fn distinct(rows: &[ChartRow]) -> std::collections::BTreeSet<String> {
    rows.iter().filter_map(|row| row.code.clone()).collect()
}

async fn uncut(driver: String) {
    let site = Site::of("few").await;
    let browser = Browser::start(&driver).await;
    browser.open(&site.page("")).await;
    // Chromium fires beforeprint only when it prints; the page lays itself out for paper then.
    browser.run("dispatchEvent(new Event('beforeprint'))", &[]).await;
    browser.devtools("Emulation.setEmulatedMedia", json!({"media": "print"})).await;
    for (paper, width, _) in PAPER {
        // Margins of 12 mm on both sides.
        let pixels = ((width - 24.0 / 25.4) * 96.0).floor();
        browser
            .devtools(
                "Emulation.setDeviceMetricsOverride",
                json!({"width": pixels, "height": 1000, "deviceScaleFactor": 1, "mobile": false}),
            )
            .await;
        browser.frames().await;
        let cut = "return page.all('body *').filter((at) => { const s = getComputedStyle(at);
            return s.overflowX !== 'visible' && at.clientWidth > 0 && at.scrollWidth > at.clientWidth + 1 && at.textContent.trim(); }).map(page.nameOf)";
        let cut: Vec<String> = browser.read(cut, &[]).await;
        assert!(cut.is_empty(), "{paper}: {cut:#?}");
        let wide: bool = browser
            .read("return document.documentElement.scrollWidth > document.documentElement.clientWidth", &[])
            .await;
        assert!(!wide, "{paper}: wider than the paper");
        browser.picture(&format!("print-{paper}")).await;
    }
}

async fn in_words(driver: String) {
    let site = Site::of("few").await;
    let browser = Browser::start(&driver).await;
    browser.open(&site.page("severity=critical&q=web")).await;
    let text = printed(&browser, "filtered", PAPER[0]).await.unwrap_or_else(|error| panic!("{error:?}"));
    for word in ["critical", "web", "agent"] {
        assert!(text.contains(word), "no {word}: {text}");
    }
    assert!(
        text.contains("severity") || text.contains("Severity") || text.contains("Only"),
        "the filter is said: {text}"
    );
}
