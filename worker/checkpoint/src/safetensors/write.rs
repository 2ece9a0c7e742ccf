//! Writing a file in the reference writer's order, so that sizes can be predicted to the byte.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Dtype, tensor_bytes};

/// A tensor to be written; `data` may be a slice of the right length or, for [`header_of`], anything.
#[derive(Clone, Debug)]
pub struct NewTensor<'a> {
    /// its name
    pub name: String,
    /// element type
    pub dtype: Dtype,
    /// dimensions
    pub shape: Vec<u64>,
    /// its bytes, little-endian, row-major
    pub data: &'a [u8],
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// shape and dtype make no whole number of bytes, or too many
    #[error("tensor {0}: impossible shape")]
    ImpossibleShape(String),
    /// the data's length is not what shape and dtype need
    #[error("tensor {name}: {have} bytes given, {need} needed")]
    WrongLength {
        /// tensor
        name: String,
        /// given
        have: u64,
        /// needed
        need: u64,
    },
}

/// Dtype descending, then name: the order of the reference writer.
fn in_order<'a, 'b>(tensors: &'b [NewTensor<'a>]) -> Vec<&'b NewTensor<'a>> {
    let mut sorted: Vec<_> = tensors.iter().collect();
    sorted.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
    sorted
}

/// The first `8 + n` bytes of the file with these tensors, and the length of the whole file. Data is not looked at.
pub fn header_of(tensors: &[NewTensor], metadata: &[(&str, &str)]) -> Result<(Vec<u8>, u64), WriteError> {
    let mut fields = Map::new();
    if !metadata.is_empty() {
        let entries: Map<String, Value> = metadata.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        fields.insert("__metadata__".to_owned(), Value::Object(entries));
    }
    let mut at = 0u64;
    for tensor in in_order(tensors) {
        let end = tensor_bytes(tensor.dtype, &tensor.shape)
            .and_then(|bytes| at.checked_add(bytes))
            .ok_or_else(|| WriteError::ImpossibleShape(tensor.name.clone()))?;
        let entry = json!({"dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [at, end]});
        fields.insert(tensor.name.clone(), entry);
        at = end;
    }
    let mut json = Value::Object(fields).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut prefix = (json.len() as u64).to_le_bytes().to_vec();
    prefix.extend_from_slice(&json);
    let file_bytes = prefix.len() as u64 + at;
    Ok((prefix, file_bytes))
}

/// Length of the file with these tensors and metadata, as [`header_of`] tells it but without making the header; `None` where it
/// cannot be written. Names must need no escaping in JSON, which a header's never do.
pub fn file_length<'a>(
    tensors: impl IntoIterator<Item = (&'a str, Dtype, &'a [u64])>,
    metadata: &BTreeMap<&str, &str>,
) -> Option<u64> {
    let mut sorted: Vec<_> = tensors.into_iter().collect();
    sorted.sort_by(|(a, a_type, _), (b, b_type, _)| b_type.cmp(a_type).then_with(|| a.cmp(b)));
    let digits = |n: u64| u64::from(n.checked_ilog10().unwrap_or(0)) + 1;
    let mut entries = sorted.len() as u64 + u64::from(!metadata.is_empty());
    // braces, and a comma between any two
    let mut json = 2 + entries.saturating_sub(1);
    entries = 0;
    if !metadata.is_empty() {
        json += r#""__metadata__":"#.len() as u64 + serde_json::to_string(metadata).ok()?.len() as u64;
    }
    let fixed = r#""":{"dtype":"","shape":[],"data_offsets":[,]}"#.len() as u64;
    let mut at = 0u64;
    for (name, dtype, shape) in sorted {
        let end = at.checked_add(tensor_bytes(dtype, shape)?)?;
        let dims: u64 = shape.iter().map(|d| digits(*d)).sum();
        let commas = (shape.len() as u64).saturating_sub(1);
        entries += fixed + name.len() as u64 + dtype.name().len() as u64 + dims + commas + digits(at) + digits(end);
        at = end;
    }
    (8 + (json + entries).next_multiple_of(8)).checked_add(at)
}

/// A whole file as bytes.
pub fn write(tensors: &[NewTensor], metadata: &[(&str, &str)]) -> Result<Vec<u8>, WriteError> {
    for tensor in tensors {
        let need = tensor_bytes(tensor.dtype, &tensor.shape)
            .ok_or_else(|| WriteError::ImpossibleShape(tensor.name.clone()))?;
        let have = tensor.data.len() as u64;
        if have != need {
            return Err(WriteError::WrongLength {
                name: tensor.name.clone(),
                have,
                need,
            });
        }
    }
    let (mut file, _) = header_of(tensors, metadata)?;
    for tensor in in_order(tensors) {
        file.extend_from_slice(tensor.data);
    }
    Ok(file)
}
