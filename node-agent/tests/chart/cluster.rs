//! Sends the chart to the API server that KUBECONFIG names, for its admission checks only; installs nothing.

use libtest_mimic::{Failed, Trial};

use crate::helm::{chart, run, values_files};

const NAME: &str = "a real API server admits the chart";

/// Returns the case, marked as skipped if KUBECONFIG is not set.
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
        // The cluster may not have the definitions of these kinds.
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
