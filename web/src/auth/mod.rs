//! Who is asking: passwords, sessions, form tokens, throttling, and the extractors that handlers name in their arguments.

pub mod client;
pub mod common;
pub mod csrf;
pub mod device;
pub mod limits;
pub mod password;
pub mod session;
pub mod throttle;
pub mod token;
pub mod uploader;
pub mod viewer;

pub use uploader::RequireUploader;
pub use viewer::{RequireOrganizer, RequireUser, User, Viewer};
