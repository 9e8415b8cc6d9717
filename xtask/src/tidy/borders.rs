//! Borders within a crate: which folders may name which crates and modules. Borders between crates are in `dependencies`.

use super::{Complaint, TextFile};

/// Code under `within`, but not under `except`, may not name any of `words`.
struct Border {
    within: &'static str,
    except: &'static [&'static str],
    words: &'static [&'static str],
    because: &'static str,
}

const BORDERS: [Border; 8] = [
    Border {
        within: "node-agent/src/",
        except: &["node-agent/src/source/kernel/"],
        words: &["aya::", "aya_obj", "aya_log"],
        because: "only source/kernel/ names aya",
    },
    Border {
        within: "node-agent/src/",
        except: &["node-agent/src/source/pods/cri/", "node-agent/src/sink/otlp/"],
        words: &["tonic", "prost"],
        because: "only source/pods/cri/ and sink/otlp/ know protobuf",
    },
    Border {
        within: "node-agent/src/",
        except: &["node-agent/src/sink/http/"],
        words: &["axum"],
        because: "only sink/http/ names axum",
    },
    Border {
        within: "node-agent/src/",
        except: &["node-agent/src/kubernetes_api/"],
        words: &["kube::", "k8s_openapi"],
        because: "only kubernetes_api/ names the Kubernetes client",
    },
    Border {
        within: "node-agent/client/src/",
        except: &["node-agent/client/src/cluster/", "node-agent/client/src/kubeconfig.rs"],
        words: &["kube::", "k8s_openapi"],
        because: "of the client only cluster/ and kubeconfig.rs name the Kubernetes client",
    },
    // The engine's dependencies cannot do IO; the standard library can.
    Border {
        within: "node-agent/engine/src/",
        except: &[],
        words: &[
            "std::fs",
            "std::process",
            "std::thread",
            "Mutex",
            "RwLock",
            "std::sync::mpsc",
            "std::io",
            "std::net::Tcp",
            "std::env",
            "Instant",
            "SystemTime",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "println!",
            "eprintln!",
        ],
        because: "the engine does no IO, reads no clock, spawns nothing and locks nothing",
    },
    Border {
        within: "node-agent/src/source/",
        except: &[],
        words: &["crate::sink", "crate::agent", "portolan_client"],
        because: "data flows one way: a source does not know the sinks",
    },
    Border {
        within: "node-agent/src/sink/",
        except: &[],
        words: &["crate::source", "crate::agent", "portolan_client"],
        because: "data flows one way: a sink does not know the sources",
    },
];

/// Checks one file, whose comments and literals are blanked in `code`.
pub fn check(file: &TextFile, code: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for border in BORDERS.iter().filter(|border| border.guards(&file.path)) {
        for (number, line) in code.lines().enumerate() {
            for word in border.words.iter().filter(|word| names(line, word)) {
                let what = format!("names `{word}`, but {}", border.because);
                complaints.push(Complaint { file: file.path.clone(), line: number + 1, what });
            }
        }
    }
    complaints
}

impl Border {
    fn guards(&self, path: &str) -> bool {
        path.starts_with(self.within) && !self.except.iter().any(|except| path.starts_with(except))
    }
}

/// Returns true if the line contains the word, and not as a part of a longer word.
fn names(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        !part(before) && (word.ends_with([':', '!']) || !part(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, code: &str) -> usize {
        check(&TextFile { path: path.to_owned(), text: String::new() }, code).len()
    }

    #[test]
    fn only_the_kernel_source_names_aya() {
        assert_eq!(complaints("node-agent/src/source/kernel/load.rs", "use aya::Ebpf;"), 0);
        assert_eq!(complaints("node-agent/src/agent.rs", "use aya::Ebpf;"), 1);
        assert_eq!(complaints("node-agent/src/agent.rs", "use maaya::Ebpf;"), 0);
    }

    #[test]
    fn the_engine_reads_no_clock() {
        assert_eq!(complaints("node-agent/engine/src/evaluate.rs", "let now = Instant::now();"), 1);
        assert_eq!(complaints("node-agent/engine/src/evaluate.rs", "let now: InstantTea;"), 0);
    }
}
