//! Twelve hours of events in fast motion: the heap stays flat.

use libtest_mimic::Trial;
use serde_json::json;

use super::budgets::heap;
use super::case;
use super::live::five;
use crate::harness::browser::Browser;
use crate::harness::host::Host;
use crate::harness::report::Report;
use crate::harness::rows::{chart, row};

/// Events of a busy cluster in twelve hours: counts every two seconds.
const TRAFFIC: usize = 21_600;
/// Ports that open and close meanwhile.
const PORTS: u16 = 600;
/// Growth of the heap in MB that counts as flat: what engine and page keep in caches of fixed size.
const FLAT: f64 = 4.0;
/// Parts of the run: the heap is measured after each.
const PARTS: usize = 4;

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![case("long_run/twelve_hours_of_events_leave_the_heap_flat", driver, flat)]
}

async fn flat(driver: String) {
    let host = Host::start(chart(five())).await;
    let browser = Browser::start(&driver).await;
    browser.open(&host.page("")).await;
    let mut heaps = Vec::new();
    for part in 0..PARTS {
        for number in 0..TRAFFIC / PARTS {
            let connections = part * TRAFFIC + number + 13;
            let counts = json!({"fingerprint": "web-9229", "attempts": connections, "connections": connections,
                "packets": 1, "bytes": 1, "lastSeen": "2026-03-04T12:00:10Z"});
            host.event(
                "Traffic",
                &json!({"schema": "portolan/v1", "time": "2026-03-04T12:00:10Z", "items": [counts]}),
            );
            if number % 32 == 0 {
                // The page reads as fast as it can; the host does not outrun what it remembers.
                tokio::time::sleep(std::time::Duration::from_millis(4)).await;
            }
        }
        for port in 0..PORTS / u16::try_from(PARTS).expect("few") {
            let row = row("churn", 20_000 + port, "medium");
            let name = row.fingerprint.clone();
            host.change(|rows| rows.push(row));
            host.tell(&name);
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            host.change(|rows| rows.retain(|row| row.fingerprint != name));
            host.tell(&name);
        }
        // The row of the part's last event, and the news that a person tidies up.
        let last = row("end", 1 + u16::try_from(part).expect("few"), "critical");
        let name = last.fingerprint.clone();
        host.change(|rows| rows.push(last));
        host.tell(&name);
        let shown = format!(
            "document.querySelector('[data-show]')?.click(); return page.all('[data-open=\"{name}\"]').length === 1"
        );
        browser.until("all events were heard", &shown).await;
        browser.frames().await;
        heaps.push(heap(&browser).await);
    }
    Report::note(format!("twelve hours of events: heap {heaps:.1?} MB"));
    let (first, last) = (heaps[0], heaps[PARTS - 1]);
    assert!(last - first <= FLAT, "the heap grows: {heaps:?} MB");
    assert_eq!(browser.noted().await, Vec::<String>::new());
}
