//! The harness of the tier: chromedriver, one browser a case, the servers of the page, and what is read from the page.

pub mod agents;
pub mod browser;
pub mod cdp;
pub mod driver;
pub mod gate;
pub mod host;
pub mod process;
pub mod report;
pub mod rows;
pub mod site;
pub mod vision;
pub mod waiting;
