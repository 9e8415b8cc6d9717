//! Network namespaces as pods, with a process each that listens.

use anyhow::Result;

use super::netns::Netns;
use super::process::Generator;

/// The pods of one measurement.
pub struct Pods {
    // The processes end before their namespaces are removed.
    processes: Vec<Generator>,
    namespaces: Vec<Netns>,
}

impl Pods {
    /// Creates `count` numbered namespaces, and waits until `xtask load pod OPTIONS` listens in each.
    ///
    /// # Errors
    /// If `ip` or a process fails.
    pub fn start(name: &str, count: usize, options: &[&str]) -> Result<Self> {
        let namespaces = Netns::make_many(name, count)?;
        let words = [&["pod"], options].concat();
        let mut processes =
            namespaces.iter().map(|netns| Generator::start(netns, &words)).collect::<Result<Vec<_>>>()?;
        for process in &mut processes {
            process.line()?;
        }
        Ok(Self { processes, namespaces })
    }

    pub fn namespaces(&self) -> &[Netns] {
        &self.namespaces
    }

    pub fn names(&self) -> Vec<&str> {
        self.namespaces.iter().map(Netns::name).collect()
    }

    /// Lets the peers of the UDP ports send. One pod after the other: thousands of sockets at once would cause losses, and the
    /// recovery would disturb what is measured.
    ///
    /// # Errors
    /// If a process has ended.
    pub fn send_datagrams(&mut self) -> Result<()> {
        for process in &mut self.processes {
            process.go()?;
            process.line()?;
        }
        Ok(())
    }
}
