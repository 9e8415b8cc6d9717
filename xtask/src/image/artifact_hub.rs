//! What Artifact Hub and `helm show chart` tell about a released chart: home, icon, sources, links, images and the signing key. The
//! chart in the tree has none of it, because each publisher has another address.

/// Path of the icon in the sources.
pub const ICON: &str = "docs/icon.svg";
/// Path of the picture of the agent's page in the sources.
pub const SCREENSHOT: &str = "docs/page.png";
/// File of a release with the public key of the chart's signature.
pub const PUBLIC_KEY: &str = "portolan-chart.asc";

/// Where a release is published.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// Address of the repository, without a slash at its end.
    pub repository: &'a str,
    pub version: &'a str,
}

impl Release<'_> {
    /// Returns the address of a file of the sources, as bytes.
    fn raw(&self, file: &str) -> String {
        format!("{}/raw/v{}/{file}", self.repository, self.version)
    }

    /// Returns the address of a file of the sources, as a page.
    fn page(&self, file: &str) -> String {
        format!("{}/blob/v{}/{file}", self.repository, self.version)
    }

    /// Returns the lines of `Chart.yaml` that stand before its annotations.
    pub fn fields(&self) -> String {
        let Self { repository, .. } = self;
        format!(
            "home: {repository}\nicon: {}\nsources:\n  - {repository}\nmaintainers:\n  - name: The portolan maintainers\n    \
             url: {repository}\n",
            self.raw(ICON)
        )
    }

    /// Returns the annotations with addresses of this release, indented.
    pub fn annotations(&self, fingerprint: Option<&str>) -> String {
        let links = [
            ("source", self.repository.to_owned()),
            ("support", format!("{}/issues", self.repository)),
            ("findings and what to do", self.page("docs/findings.md")),
            ("threat model", self.page("docs/threat-model.md")),
            ("how to verify a release", self.page("docs/verify.md")),
        ];
        let links: Vec<String> =
            links.map(|(name, url)| format!("    - name: {name}\n      url: {url}\n")).into();
        let mut text = format!(
            "  artifacthub.io/links: |\n{}  artifacthub.io/screenshots: |\n    - title: The page of an agent\n      url: {}\n",
            links.concat(),
            self.raw(SCREENSHOT)
        );
        if let Some(fingerprint) = fingerprint {
            let Self { repository, version } = self;
            text.push_str(&format!(
                "  artifacthub.io/signKey: |\n    fingerprint: {fingerprint}\n    \
                 url: {repository}/releases/download/v{version}/{PUBLIC_KEY}\n"
            ));
        }
        text
    }
}

/// Returns the annotation that names the images of the chart, indented.
pub fn images(reference: &str) -> String {
    format!(
        "  artifacthub.io/images: |\n    - name: portolan\n      image: {reference}\n      platforms:\n        - linux/amd64\n        \
         - linux/arm64\n"
    )
}
