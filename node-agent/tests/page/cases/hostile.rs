//! Names that a pod chose: they are text, whatever they contain.

use libtest_mimic::Trial;
use serde_json::Value;

use super::case;
use crate::harness::browser::Browser;
use crate::harness::site::Site;

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![
        case("hostile/names_are_text_and_ask_for_nothing", driver, text_only),
        case("hostile/control_characters_are_written_out_wherever_a_name_stands", driver, written_out),
        case("hostile/a_query_is_text_too", driver, query),
    ]
}

/// Elements that the page never has, and attributes that would run code.
const FOREIGN: &str = "return [...document.querySelectorAll('img, iframe, object, embed, video, audio, base, meta[http-equiv], marquee')]
    .concat([...document.querySelectorAll('*')].filter((at) =>
        [...at.attributes].some(({ name, value }) => name.startsWith('on') || /^\\s*javascript:/i.test(value))))
    .concat([...document.scripts].filter((script) => !script.src.startsWith(`${location.origin}/ui/`)))
    .concat([...document.links].filter((link) => link.host && link.origin !== location.origin && !link.rel.includes('noreferrer')))
    .map(page.nameOf)";

/// Text and names in which steering characters are not written out. A line end within preformatted text is its own.
const STEERING: &str = "const steering = /[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]/u;
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        if (steering.test(node.data)) found.push(`text of ${page.nameOf(node.parentElement)}`);
    }
    for (const at of document.querySelectorAll('[aria-label], [title], [placeholder], [alt]')) {
        for (const name of ['aria-label', 'title', 'placeholder', 'alt']) {
            if (steering.test(at.getAttribute(name) ?? '')) found.push(`${name} of ${page.nameOf(at)}`);
        }
    }
    if (steering.test(document.title)) found.push('the title');
    return found.slice(0, 10)";

async fn views(site: &Site) -> Vec<String> {
    let mut queries = vec![String::new(), "view=table".to_owned(), "tab=chart".to_owned()];
    queries.extend(site.fingerprints().await.into_iter().map(|one| format!("port={one}")));
    queries
}

async fn text_only(driver: String) {
    let site = Site::of("hostile").await;
    let browser = Browser::start(&driver).await;
    let mut seen = String::new();
    for query in views(&site).await {
        browser.open(&site.page(&query)).await;
        let foreign: Vec<String> = browser.read(FOREIGN, &[]).await;
        assert!(foreign.is_empty(), "{query}: {foreign:#?}");
        let noted = browser.noted().await;
        assert!(noted.is_empty(), "{query}: {noted:#?}");
        seen += &browser.read::<String>("return document.body.innerText", &[]).await;
    }
    assert!(seen.contains("<img src=x onerror=alert(1)>"), "the names are shown: {seen}");
    let elsewhere: Vec<String> =
        browser.requests().await.into_iter().filter(|url| site.is_elsewhere(url)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

async fn written_out(driver: String) {
    let site = Site::of("hostile").await;
    let names: Value = site.json("/v1/chart?declared=1000").await;
    assert!(names.to_string().contains('\u{202e}'), "the scene has a name that turns text around");
    let browser = Browser::start(&driver).await;
    for query in views(&site).await {
        browser.open(&site.page(&query)).await;
        let found: Vec<String> = browser.read(STEERING, &[]).await;
        assert!(found.is_empty(), "{query}: {found:#?}");
    }
    let shown: String = browser.read("return document.body.innerText", &[]).await;
    assert!(shown.contains("\\u{202e}"), "{shown}");
}

async fn query(driver: String) {
    let site = Site::of("few").await;
    let browser = Browser::start(&driver).await;
    let markup = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%E2%80%AE";
    for name in ["q", "namespace", "caller", "since", "port", "open", "nonsense"] {
        browser.open(&site.page(&format!("{name}={markup}"))).await;
        let foreign: Vec<String> = browser.read(FOREIGN, &[]).await;
        let steering: Vec<String> = browser.read(STEERING, &[]).await;
        let noted = browser.noted().await;
        assert!(
            foreign.is_empty() && noted.is_empty() && steering.is_empty(),
            "{name}: {foreign:#?} {noted:#?} {steering:#?}"
        );
    }
}
