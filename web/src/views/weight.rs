//! A checkpoint's weight by tensor group, drawn as areas, with the hints and a table of the same figures. The precheck and
//! a submission's page show the same piece.

use super::filters::{self, Count};
use super::format;
use super::problem::{string, text};
use super::treemap::{Frame, squarify};
use crate::i18n::{self, Arg, Locale};
use askama::Template;
use serde_json::Value;

/// Width of the map on a wide screen and on a phone, and its height, in pixels: what decides which areas have room for
/// words. Areas are placed in percent, so that words keep their size on every screen.
const WIDE_PX: f64 = 860.0;
const NARROW_PX: f64 = 350.0;
const HIGH_PX: f64 = 240.0;
/// Room left of and right of a word.
const MARGIN_PX: f64 = 18.0;
/// What the base has and the checkpoint has not is drawn from this share of the map on.
const SAVED_SHARE: f64 = 0.02;

/// What a checkpoint weighs.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "fragments/weight.html")]
pub struct WeightFragment {
    /// The language.
    pub locale: Locale,
    /// Length of all weight files together.
    pub total: u64,
    /// The base model's, for comparison.
    pub base: Option<u64>,
    /// The groups in the checkpoint's order; they sum to `total`.
    pub groups: Vec<WeightGroup>,
    /// Ways to be smaller, most bytes first.
    pub hints: Vec<HintView>,
    /// Bits a parameter takes: of the whole model, and of the matrices of its layers.
    pub bits: Option<(f64, f64)>,
    /// What it needs on a device; `None` in reports of earlier versions.
    pub memory: Option<MemoryView>,
}

/// A fragment is written by its own template, which escapes; a page takes it as it is.
impl askama::filters::HtmlSafe for WeightFragment {}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightGroup {
    /// `embedding`, `head`, `attention`, `mlp`, `norms`, `scales`, `zero_points`, …
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// One hint.
#[derive(Clone, Debug, Default)]
pub struct HintView {
    /// Stable kebab-case code.
    pub code: String,
    /// How many bytes it would save.
    pub saves: u64,
    /// What to do.
    pub message: String,
}

/// Memory a device needs to run the submission, as predicted.
#[derive(Clone, Debug, Default)]
pub struct MemoryView {
    /// Tokens of the conversation it is predicted for.
    pub context: u64,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of the KV cache.
    pub kv: u64,
    /// Bytes of activations.
    pub working: u64,
    /// The three together.
    pub total: u64,
    /// The contest's devices, in its order.
    pub devices: Vec<DeviceView>,
}

/// One device of the contest's list.
#[derive(Clone, Debug, Default)]
pub struct DeviceView {
    /// Its name.
    pub name: String,
    /// Its memory in bytes.
    pub memory: u64,
    /// What an hour of it costs in US dollars, where it is rented.
    pub usd_per_hour: Option<f64>,
    /// Whether the submission fits.
    pub fits: bool,
    /// Tokens of the longest conversation that fits.
    pub longest: u64,
}

/// One area of the map, its place in percent of the whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Area {
    /// The class that colours it: `g-mlp`; `saved` for what the base has more.
    pub kind: String,
    /// Left edge.
    pub x: String,
    /// Upper edge.
    pub y: String,
    /// Width.
    pub width: String,
    /// Height.
    pub height: String,
    /// The group's name.
    pub label: String,
    /// `971.18 MB · 43.2 %`.
    pub figure: String,
    /// Where the name is written into it.
    pub name_room: Room,
    /// Where the figure is.
    pub figure_room: Room,
}

/// Where words of an [`Area`] are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// On every screen.
    Always,
    /// Only where there is more room than on a phone.
    Wide,
    /// Nowhere: the table and the tooltip have them.
    #[default]
    Never,
}

impl Room {
    fn of(text: &str, share: f64) -> Room {
        let needed = text_px(text) + MARGIN_PX;
        match () {
            () if share * NARROW_PX >= needed => Room::Always,
            () if share * WIDE_PX >= needed => Room::Wide,
            () => Room::Never,
        }
    }
}

/// About how wide a text is in the map's type, in pixels. Korean letters are as wide as they are high.
fn text_px(text: &str) -> f64 {
    text.chars().map(|c| if c.is_ascii() { 7.4 } else { 12.5 }).sum()
}

impl WeightFragment {
    /// Reads an inspection's `bytes: {total, groups: [{name, bytes}]}` and `hints`; `None` when nothing was weighed.
    pub fn from_inspection(locale: Locale, base: Option<u64>, inspection: &Value) -> Option<WeightFragment> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let bytes = &inspection["bytes"];
        let groups = list(&bytes["groups"]).into_iter().filter_map(|group| {
            Some(WeightGroup {
                name: group["name"].as_str()?.to_owned(),
                bytes: group["bytes"].as_u64().filter(|bytes| *bytes > 0)?,
            })
        });
        let mut hints: Vec<HintView> = list(&inspection["hints"])
            .iter()
            .map(|hint| HintView {
                code: string(&hint["code"]),
                saves: hint["saves"].as_u64().unwrap_or(0),
                message: text(locale, &hint["message"]),
            })
            .collect();
        hints.sort_by_key(|hint| std::cmp::Reverse(hint.saves));
        Some(WeightFragment {
            locale,
            total: bytes["total"].as_u64().filter(|total| *total > 0)?,
            base: base.filter(|base| *base > 0),
            groups: groups.collect(),
            hints,
            bits: bits(inspection),
            memory: memory(locale, &inspection["memory"]),
        })
    }

    /// `4.41 bits per parameter, …`.
    fn bits_note(&self, bits: &(f64, f64)) -> String {
        let (all, linear) = (format!("{:.2}", bits.0), format!("{:.2}", bits.1));
        i18n::t(self.locale, "weight-bits", &[("all", &all), ("linear", &linear)])
    }

    /// What the predicted memory consists of, in one sentence.
    fn memory_note(&self, memory: &MemoryView) -> String {
        let context = format::grouped(memory.context);
        let [total, weights, kv, working] = [memory.total, memory.weights, memory.kv, memory.working].map(format::size);
        let args: [(&str, &dyn Arg); 5] = [
            ("context", &context),
            ("total", &total),
            ("weights", &weights),
            ("kv", &kv),
            ("working", &working),
        ];
        i18n::t(self.locale, "memory-note", &args)
    }

    /// The areas of the map. Its whole is the base model where that is the larger: what is left empty in it was saved.
    pub fn areas(&self) -> Vec<Area> {
        let whole = self.total.max(self.base.unwrap_or(0)).max(1);
        let own = self.total as f64 / whole as f64;
        let frame = Frame {
            width: own * 100.0,
            height: 100.0,
            ..Frame::default()
        };
        let mut largest_first: Vec<&WeightGroup> = self.groups.iter().collect();
        largest_first.sort_by_key(|group| std::cmp::Reverse(group.bytes));
        let weights: Vec<u64> = largest_first.iter().map(|group| group.bytes).collect();
        let frames = squarify(&weights, frame, WIDE_PX / HIGH_PX);
        let mut areas: Vec<Area> = largest_first
            .iter()
            .zip(frames)
            .map(|(group, frame)| {
                area(
                    format!("g-{}", group.name),
                    frame,
                    self.group(&group.name),
                    figure(group.bytes, self.total),
                )
            })
            .collect();
        if 1.0 - own > SAVED_SHARE {
            let frame = Frame {
                x: own * 100.0,
                width: 100.0 - own * 100.0,
                ..frame
            };
            let saved = whole - self.total;
            areas.push(area(
                "saved".to_owned(),
                frame,
                self.t("weight-saved"),
                figure(saved, whole),
            ));
        }
        areas
    }

    /// This checkpoint as a share of the base: `38.0 %`.
    pub fn of_base(&self) -> Option<String> {
        self.base.map(|base| format::percent(self.total, base))
    }

    /// What the whole of the map stands for.
    fn scale(&self) -> Option<String> {
        let base = self.base?;
        let key = if self.total <= base {
            "weight-map-base"
        } else {
            "weight-map-own"
        };
        Some(self.t1(key, "size", format::size(base)))
    }

    /// The name of a group. One without a name of ours keeps its own, written as words.
    fn group(&self, name: &str) -> String {
        let key = format!("group-{}", name.replace('_', "-"));
        if i18n::has(self.locale, &key) {
            return self.t(&key);
        }
        let words = name.replace(['_', '-'], " ");
        let mut letters = words.chars();
        letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect())
            .unwrap_or_default()
    }

    fn share(&self, bytes: impl Count) -> String {
        format::percent(bytes.count(), self.total)
    }

    fn exact(&self, bytes: impl Count) -> String {
        format::grouped(bytes.count())
    }

    fn t(&self, key: &str) -> String {
        self.locale.t(key)
    }

    fn t1(&self, key: &str, name: &str, value: impl Arg) -> String {
        i18n::t(self.locale, key, &[(name, &value)])
    }
}

/// Bits a parameter, of `parameters: {total, linear, linear_bytes}`.
fn bits(inspection: &Value) -> Option<(f64, f64)> {
    let parameters = &inspection["parameters"];
    let part = |bytes: &Value, of: &Value| Some(8.0 * bytes.as_f64()? / of.as_f64().filter(|n| *n > 0.0)?);
    Some((
        part(&inspection["bytes"]["total"], &parameters["total"])?,
        part(&parameters["linear_bytes"], &parameters["linear"])?,
    ))
}

/// Reads `memory: {context, weights, kv, working, total, devices: [{name, memory_bytes, usd_per_hour?, fits, longest_context}]}`.
fn memory(locale: Locale, memory: &Value) -> Option<MemoryView> {
    let number = |key: &str| memory[key].as_u64();
    let devices = memory["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
    Some(MemoryView {
        context: number("context")?,
        weights: number("weights")?,
        kv: number("kv")?,
        working: number("working")?,
        total: number("total")?,
        devices: devices
            .iter()
            .map(|device| DeviceView {
                name: text(locale, &device["name"]),
                memory: device["memory_bytes"].as_u64().unwrap_or(0),
                usd_per_hour: device["usd_per_hour"].as_f64(),
                fits: device["fits"] == true,
                longest: device["longest_context"].as_u64().unwrap_or(0),
            })
            .collect(),
    })
}

fn figure(bytes: u64, whole: u64) -> String {
    format!("{} · {}", format::size(bytes), format::percent(bytes, whole))
}

fn area(kind: String, frame: Frame, label: String, figure: String) -> Area {
    let percent = |value: f64| format!("{value:.3}%");
    let high = frame.height / 100.0 * HIGH_PX;
    let room = |text: &str, least_px: f64| {
        if high < least_px {
            Room::Never
        } else {
            Room::of(text, frame.width / 100.0)
        }
    };
    let (name_room, figure_room) = (room(&label, 24.0), room(&figure, 44.0));
    Area {
        kind,
        x: percent(frame.x),
        y: percent(frame.y),
        width: percent(frame.width),
        height: percent(frame.height),
        // A figure without its name says nothing.
        figure_room: if name_room == Room::Never {
            Room::Never
        } else {
            figure_room
        },
        label,
        figure,
        name_room,
    }
}
