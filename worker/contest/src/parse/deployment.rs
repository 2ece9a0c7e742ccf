//! `[checkpoint.deployment]`: devices a submission might run on.

use super::fault::Fault;
use super::notes::Notes;
use super::read::Section;
use super::{MAX_FILE_BYTES, TITLE, check};
use crate::rules::{Deployment, Device};

/// Longest context: four million tokens, beyond any model there is.
const MAX_CONTEXT: u64 = 1 << 22;
/// Most devices: a table that is read at a glance.
const MOST: usize = 16;

pub(super) fn read(notes: &Notes<'_>, mut section: Section<'_, '_>) -> Deployment {
    let context = section.integer("context", 1..=MAX_CONTEXT);
    let mut devices: Vec<Device> = Vec::new();
    for mut device in section.tables("devices", 1..=MOST) {
        let key = device.key("name");
        let name = device.text("name", check::line(TITLE));
        if devices.iter().any(|earlier| earlier.name == name) && !name.en.is_empty() {
            notes.add(device.span(), &key, Fault::repeated(&name.en));
        }
        devices.push(Device {
            name,
            memory_bytes: device.integer("memory_bytes", 1..=MAX_FILE_BYTES),
            usd_per_hour: device.number_maybe("usd_per_hour", check::price),
        });
        device.close();
    }
    section.close();
    Deployment { context, devices }
}
