//! `[[references]]`: models shown beside the base.

use super::fault::Fault;
use super::notes::Notes;
use super::read::Section;
use super::{MAX_FILE_BYTES, TITLE, check, measures};
use crate::measure::{Kind, Name};
use crate::rules::Reference;

/// Most references: pinned above the teams, more would push those out of sight.
const MOST: usize = 16;
/// Most characters of a source note.
const SOURCE: usize = 500;

pub(super) fn read(notes: &Notes<'_>, root: &mut Section<'_, '_>) -> Vec<Reference> {
    let mut references: Vec<Reference> = Vec::new();
    for mut section in root.tables("references", 0..=MOST) {
        let name = section.string("name", check::line(TITLE));
        if references.iter().any(|earlier| earlier.name == name.value) && !name.value.is_empty() {
            notes.add(name.span.clone(), &name.key, Fault::repeated(&name.value));
        }
        let reference = Reference {
            bytes: section.integer("bytes", 1..=MAX_FILE_BYTES),
            source: section.text("source", check::line(SOURCE)),
            measures: measures(notes, &mut section),
            name: name.value,
        };
        // An accuracy without its error would stand on the board as if it were exact.
        for key in reference.measures.keys() {
            if let Some(Kind::Accuracy { task, metric, filter }) = Name::parse(key).map(|name| name.kind) {
                let needs = [format!("acc_stderr.{task}.{metric}.{filter}"), format!("items.{task}")];
                if let Some(missing) = needs.iter().find(|needed| !reference.measures.contains_key(*needed)) {
                    notes.add(
                        name.span.clone(),
                        &name.key,
                        Fault::reference_without_error(key, missing),
                    );
                }
            }
        }
        section.close();
        references.push(reference);
    }
    references
}
