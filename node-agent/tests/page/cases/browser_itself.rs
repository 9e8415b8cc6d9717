//! The harness itself: what the cases rely on when they say that nothing is wrong.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case;
use super::contrast::judge;
use crate::harness::browser::Browser;
use crate::harness::vision::{self, Vision};

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![
        case("browser/it_notes_errors_dialogs_and_requests", driver, notes),
        case("browser/it_sees_what_is_wrong_with_a_layout", driver, layout),
        case("browser/it_sees_weak_texts_and_small_targets", driver, weak),
        case("browser/it_knows_which_colours_look_alike", driver, colours),
    ]
}

async fn shown(driver: &str, body: &str) -> Browser {
    let browser = Browser::start(driver).await;
    let page = format!("<!doctype html><html lang=en><body style='margin:0;background:white'>{body}");
    let page: String = url::form_urlencoded::byte_serialize(page.as_bytes()).collect();
    browser.goto(&format!("data:text/html,{}", page.replace('+', "%20"))).await;
    browser
}

async fn notes(driver: String) {
    let browser = shown(&driver, "<h1>a</h1><script>alert(1); nothing();</script>").await;
    let noted = browser.noted().await;
    assert!(noted.iter().any(|note| note.starts_with("dialog: alert 1")), "{noted:?}");
    assert!(noted.iter().any(|note| note.contains("nothing is not defined")), "{noted:?}");
    let requests = browser.requests().await;
    assert!(requests.iter().any(|url| url.starts_with("data:text/html")), "{requests:?}");
}

async fn layout(driver: String) {
    let browser = shown(
        &driver,
        "<p style='position:absolute;top:0'>first name<p style='position:absolute;top:4px'>second name
         <p style='position:absolute;top:90px;width:30px;overflow-wrap:anywhere'>unbreakable
         <p style='position:absolute;top:300px;width:60px'>well/behaved/name and more
         <p style='position:absolute;top:600px;width:5000px'>wide",
    )
    .await;
    let complaints: Vec<String> = browser.read(include_str!("../js/layout.js"), &[]).await;
    for wanted in ["scrolls sideways", "lies on", "breaks within \"unbreakable\""] {
        assert!(complaints.iter().any(|line| line.contains(wanted)), "{wanted}: {complaints:#?}");
    }
    assert_eq!(complaints.len(), 3, "{complaints:#?}");
}

async fn weak(driver: String) {
    let browser = shown(
        &driver,
        "<p style='color:#777'>nearly<p style='color:#767676'>enough<p style='opacity:.4'>faded
         <button style='width:20px;height:40px;padding:0'>x</button><button style='width:40px;height:40px'>y</button>",
    )
    .await;
    let judgement = judge(&browser).await;
    let weak = judgement.weak.join("\n");
    assert!(weak.contains("nearly") && weak.contains("faded") && !weak.contains("enough"), "{weak}");
    let small: Value = browser.run(include_str!("../js/targets.js"), &[json!(24)]).await;
    assert_eq!(small, json!(["20 × 40 px: <button> \"x\""]));
}

async fn colours(_driver: String) {
    let (red, green) = ([200.0, 50.0, 5.0], [100.0, 120.0, 0.0]);
    let near = vision::distance(red, green, Vision::Protanopia);
    assert!(near < vision::distance(red, green, Vision::Full) / 2.0, "{near}");
    let whole = vision::distance([0.0; 3], [255.0; 3], Vision::Full);
    assert!((whole - 100.0).abs() < 0.1, "{whole}");
}
