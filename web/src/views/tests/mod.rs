//! Every page in both languages, from sample data; and the messages they are made of.
//!
//! With `ASSAY_PREVIEW` set to a folder, the pages are also written there, to be looked at in a browser.

mod gallery;
mod keys;
mod pages;
mod samples;
mod stages;
