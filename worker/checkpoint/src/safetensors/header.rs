//! Reading a header: length field, strict JSON, then every rule about offsets.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{
    Dtype, Header, HeaderError, MAX_HEADER_BYTES, MAX_METADATA_ENTRIES, MAX_NAME_BYTES, MAX_RANK, MAX_TENSORS,
    TensorInfo, tensor_bytes,
};
use crate::problem::quoted;

/// The header's length `n` from a file's first eight bytes, checked against our cap and the file's length.
pub fn header_len(first8: &[u8; 8], file_bytes: u64) -> Result<u64, HeaderError> {
    let n = u64::from_le_bytes(*first8);
    if n > MAX_HEADER_BYTES {
        return Err(HeaderError::HeaderTooLong { n });
    }
    if 8 + n > file_bytes {
        return Err(HeaderError::Truncated {
            have: file_bytes,
            need: 8 + n,
        });
    }
    Ok(n)
}

/// Reads and checks a header. `prefix` is the file's beginning, at least its first `8 + n` bytes; `file_bytes` the length of the whole file.
pub fn parse_header(prefix: &[u8], file_bytes: u64) -> Result<Header, HeaderError> {
    let have = prefix.len() as u64;
    let first8: &[u8; 8] = prefix.first_chunk().ok_or(HeaderError::Truncated {
        have: have.min(file_bytes),
        need: 8,
    })?;
    let n = header_len(first8, file_bytes)?;
    let body = prefix
        .get(8..8 + n as usize)
        .ok_or(HeaderError::Truncated { have, need: 8 + n })?;
    let entries = read_json(body)?;
    let header_bytes = 8 + n;
    check_cover(&entries.tensors, file_bytes - header_bytes)?;
    Ok(Header {
        tensors: entries.tensors,
        metadata: entries.metadata,
        header_bytes,
        file_bytes,
    })
}

/// Tensors in the order of their offsets must tile the data section.
fn check_cover(tensors: &BTreeMap<String, TensorInfo>, data_bytes: u64) -> Result<(), HeaderError> {
    if tensors.is_empty() {
        return Err(HeaderError::NoTensors);
    }
    let mut by_place: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    by_place.sort_by_key(|(name, t)| (t.begin, t.end, name.as_str()));
    let mut at = 0u64;
    for (name, tensor) in by_place {
        if tensor.begin > at {
            return Err(HeaderError::Hole {
                name: name.clone(),
                bytes: tensor.begin - at,
            });
        }
        if tensor.begin < at {
            return Err(HeaderError::Overlap { name: name.clone() });
        }
        at = tensor.end;
    }
    match at.cmp(&data_bytes) {
        std::cmp::Ordering::Less => Err(HeaderError::TrailingBytes { bytes: data_bytes - at }),
        std::cmp::Ordering::Greater => Err(HeaderError::DataMissing { bytes: at - data_bytes }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

#[derive(Default)]
struct Entries {
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

fn read_json(body: &[u8]) -> Result<Entries, HeaderError> {
    if body.first() != Some(&b'{') {
        return Err(HeaderError::NotAnObject);
    }
    let source = std::str::from_utf8(body).map_err(|e| HeaderError::NotUtf8 {
        at: e.valid_up_to() as u64,
    })?;
    let mut failure = None;
    let mut reader = serde_json::Deserializer::from_str(source);
    let read = HeaderSeed { failure: &mut failure }.deserialize(&mut reader);
    // A visitor can only hand serde a sentence; the typed reason travels beside it.
    if let Some(reason) = failure {
        return Err(reason);
    }
    let entries = read.map_err(|e| HeaderError::Malformed(quoted(&e.to_string())))?;
    reader.end().map_err(|_| HeaderError::BadPadding)?;
    // serde_json also skips tabs and newlines; the format pads with spaces only.
    if !source.trim_end_matches(' ').ends_with('}') {
        return Err(HeaderError::BadPadding);
    }
    Ok(entries)
}

/// Remembers the typed reason and returns serde's error.
fn fail<E: serde::de::Error>(slot: &mut Option<HeaderError>, reason: HeaderError) -> E {
    let sentence = reason.to_string();
    *slot = Some(reason);
    E::custom(sentence)
}

struct HeaderSeed<'a> {
    failure: &'a mut Option<HeaderError>,
}

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = Entries;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entries, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Entries, A::Error> {
        let mut entries = Entries::default();
        let mut metadata_seen = false;
        while let Some(name) = access.next_key::<String>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut metadata_seen, true) {
                    return Err(fail(self.failure, HeaderError::DuplicateKey(name)));
                }
                entries.metadata = access.next_value_seed(MetadataSeed {
                    failure: &mut *self.failure,
                })?;
                continue;
            }
            if entries.tensors.contains_key(&name) {
                return Err(fail(self.failure, HeaderError::DuplicateKey(quoted(&name))));
            }
            if entries.tensors.len() == MAX_TENSORS {
                return Err(fail(self.failure, HeaderError::TooManyTensors));
            }
            if !good_name(&name) {
                return Err(fail(self.failure, HeaderError::BadName(quoted(&name))));
            }
            let info = access.next_value_seed(TensorSeed {
                name: &name,
                failure: &mut *self.failure,
            })?;
            entries.tensors.insert(name, info);
        }
        Ok(entries)
    }
}

/// Names we store, print and match: nothing that could be a path, a look-alike letter or a control character.
fn good_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

struct MetadataSeed<'a> {
    failure: &'a mut Option<HeaderError>,
}

impl<'de> DeserializeSeed<'de> for MetadataSeed<'_> {
    type Value = BTreeMap<String, String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MetadataSeed<'_> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut metadata = BTreeMap::new();
        while let Some((key, value)) = access.next_entry::<String, String>()? {
            if metadata.len() == MAX_METADATA_ENTRIES {
                return Err(fail(self.failure, HeaderError::TooMuchMetadata));
            }
            if metadata.contains_key(&key) {
                return Err(fail(self.failure, HeaderError::DuplicateKey(quoted(&key))));
            }
            metadata.insert(key, value);
        }
        Ok(metadata)
    }
}

struct TensorSeed<'a> {
    name: &'a str,
    failure: &'a mut Option<HeaderError>,
}

impl<'de> DeserializeSeed<'de> for TensorSeed<'_> {
    type Value = TensorInfo;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TensorInfo, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TensorSeed<'_> {
    type Value = TensorInfo;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a tensor's dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<TensorInfo, A::Error> {
        let (mut dtype, mut shape, mut offsets) = (None::<String>, None::<Numbers>, None::<[u64; 2]>);
        while let Some(key) = access.next_key::<String>()? {
            let seen = match key.as_str() {
                "dtype" => dtype.replace(access.next_value()?).is_some(),
                "shape" => shape.replace(access.next_value_seed(NumbersSeed)?).is_some(),
                "data_offsets" => offsets.replace(access.next_value()?).is_some(),
                _ => {
                    return Err(A::Error::custom(format!(
                        "tensor {}: unknown field \"{}\"",
                        self.name,
                        quoted(&key)
                    )));
                }
            };
            if seen {
                return Err(fail(
                    self.failure,
                    HeaderError::DuplicateKey(format!("{}.{key}", self.name)),
                ));
            }
        }
        let (Some(dtype), Some(shape), Some([begin, end])) = (dtype, shape, offsets) else {
            return Err(A::Error::custom(format!(
                "tensor {}: dtype, shape and data_offsets are all needed",
                self.name
            )));
        };
        checked(self.name, &dtype, shape, begin, end).map_err(|reason| fail(self.failure, reason))
    }
}

fn checked(name: &str, dtype: &str, shape: Numbers, begin: u64, end: u64) -> Result<TensorInfo, HeaderError> {
    let name = name.to_owned();
    let Some(dtype) = Dtype::from_name(dtype) else {
        return Err(HeaderError::UnknownDtype {
            name,
            dtype: quoted(dtype),
        });
    };
    if shape.count > MAX_RANK {
        return Err(HeaderError::RankTooHigh {
            name,
            rank: shape.count,
        });
    }
    let shape = shape.first;
    if shape.contains(&0) {
        return Err(HeaderError::Empty { name });
    }
    let Some(need) = tensor_bytes(dtype, &shape) else {
        return Err(HeaderError::ImpossibleShape { name });
    };
    let have = end.saturating_sub(begin);
    if begin > end || have != need {
        return Err(HeaderError::WrongLength { name, have, need });
    }
    Ok(TensorInfo {
        dtype,
        shape,
        begin,
        end,
    })
}

/// The first few numbers of a list and how many there were: a shape of a million ones costs no memory.
struct Numbers {
    first: Vec<u64>,
    count: usize,
}

struct NumbersSeed;

impl<'de> DeserializeSeed<'de> for NumbersSeed {
    type Value = Numbers;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Numbers, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for NumbersSeed {
    type Value = Numbers;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Numbers, A::Error> {
        let mut numbers = Numbers {
            first: Vec::new(),
            count: 0,
        };
        while let Some(n) = access.next_element::<u64>()? {
            if numbers.count < MAX_RANK {
                numbers.first.push(n);
            }
            numbers.count += 1;
        }
        Ok(numbers)
    }
}
