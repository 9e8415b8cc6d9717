//! A real API server, where KUBECONFIG names one: it checks the chart by its own admission, and nothing is installed.

use libtest_mimic::{Failed, Trial};

use crate::helm::{chart, run, values_files};

const NAME: &str = "a real API server admits the chart";

/// Skipped, and says why, without KUBECONFIG.
pub fn trial() -> Trial {
    if std::env::var_os("KUBECONFIG").is_none_or(|path| path.is_empty()) {
        let name = format!("{NAME} (skipped: KUBECONFIG is not set)");
        return Trial::test(name, || Ok(())).with_ignored_flag(true);
    }
    Trial::test(NAME, || {
        admitted();
        Ok::<(), Failed>(())
    })
}

fn admitted() {
    for (name, file) in values_files() {
        let objects = crate::helm::template_file(&file, &[]);
        // Kinds that this cluster need not know.
        let is_plain =
            objects.of_kind("PodMonitor").chain(objects.of_kind("SecurityContextConstraints")).count() == 0;
        if !is_plain {
            println!("{name}: needs kinds of other projects, not sent");
            continue;
        }
        let (chart, file) = (chart().display().to_string(), file.display().to_string());
        let words =
            ["install", "ptl", &chart, "--namespace", "default", "--dry-run=server", "--values", &file];
        let output = run(&words);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
