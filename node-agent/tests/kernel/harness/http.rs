//! A minimal HTTP client for the agent's unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use portolan_report::answer::List;
use serde::de::DeserializeOwned;

/// Returns status and body of a GET.
pub fn get(socket: &Path, target: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    split(&answer).ok_or_else(|| std::io::Error::other("no HTTP answer"))
}

fn split(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = &answer[end + 4..];
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Some((status, join_chunks(body)?));
    }
    Some((status, body.to_vec()))
}

fn join_chunks(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut joined = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?.trim(), 16).ok()?;
        if length == 0 {
            return Some(joined);
        }
        let start = end + 2;
        joined.extend_from_slice(body.get(start..start + length)?);
        body = body.get(start + length + 2..)?;
    }
}

/// Returns every item of a list route, page by page.
pub fn list<T: DeserializeOwned>(socket: &Path, route: &str) -> Result<Vec<T>, String> {
    let mut items = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let target = match &token {
            None => format!("{route}?limit=1000"),
            Some(token) => format!("{route}?limit=1000&continue={token}"),
        };
        let (status, body) = get(socket, &target).map_err(|error| format!("GET {target}: {error}"))?;
        if status != 200 {
            return Err(format!("GET {target}: {status} {}", String::from_utf8_lossy(&body)));
        }
        let page: List<T> = serde_json::from_slice(&body).map_err(|error| {
            format!("GET {target}: {error}: {}", String::from_utf8_lossy(&body[..body.len().min(600)]))
        })?;
        items.extend(page.items);
        match page.r#continue {
            Some(next) => token = Some(next),
            None => return Ok(items),
        }
    }
}
