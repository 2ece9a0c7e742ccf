//! A fixture's folder in memory, to be changed and written elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use assay_checkpoint::number::{bf16_to_f32, f32_to_bf16};
use assay_checkpoint::safetensors::{Dtype, header_len, parse_header};
use serde_json::Value;

use crate::support::*;

/// Tensors by name, and the other files.
#[derive(Clone)]
pub struct Folder {
    pub tensors: BTreeMap<String, Tensor>,
    pub config: Value,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Folder {
    /// A checkpoint of the fixtures.
    pub fn of(name: &str) -> Folder {
        Folder::read(&checkpoint(name))
    }

    pub fn read(dir: &Path) -> Folder {
        let (mut tensors, mut files) = (BTreeMap::new(), BTreeMap::new());
        let mut config = Value::Null;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap();
            if name == "config.json" {
                config = serde_json::from_slice(&bytes).unwrap();
            } else if name.ends_with(".safetensors") {
                let length = bytes.len() as u64;
                let head = 8 + header_len(bytes.first_chunk().unwrap(), length).unwrap() as usize;
                let header = parse_header(&bytes[..head], length).unwrap();
                for (name, info) in header.tensors {
                    let data = bytes[head + info.begin as usize..head + info.end as usize].to_vec();
                    let (dtype, shape) = (info.dtype, info.shape);
                    let tensor = Tensor {
                        name: name.clone(),
                        dtype,
                        shape,
                        data,
                    };
                    tensors.insert(name, tensor);
                }
            } else if !name.ends_with(".index.json") {
                files.insert(name, bytes);
            }
        }
        Folder { tensors, config, files }
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.get_mut(name).unwrap_or_else(|| panic!("{name}"))
    }

    /// Values of a bfloat16 tensor.
    pub fn values(&self, name: &str) -> Vec<f32> {
        let tensor = &self.tensors[name];
        assert_eq!(tensor.dtype, Dtype::BF16, "{name}");
        tensor
            .data
            .as_chunks()
            .0
            .iter()
            .map(|b| bf16_to_f32(u16::from_le_bytes(*b)))
            .collect()
    }

    /// Stores values as bfloat16.
    pub fn set(&mut self, name: &str, shape: &[u64], values: &[f32]) {
        let data: Vec<u8> = values.iter().flat_map(|v| f32_to_bf16(*v).to_le_bytes()).collect();
        let tensor = Tensor {
            name: name.into(),
            dtype: Dtype::BF16,
            shape: shape.into(),
            data,
        };
        self.tensors.insert(name.into(), tensor);
    }

    /// Gives tensors other names; names that are not changed stay.
    pub fn rename(&mut self, new: impl Fn(&str) -> String) {
        let tensors = std::mem::take(&mut self.tensors);
        for (_, mut tensor) in tensors {
            tensor.name = new(&tensor.name);
            self.tensors.insert(tensor.name.clone(), tensor);
        }
    }

    /// Writes it as one safetensors file with everything beside it.
    pub fn save(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let tensors: Vec<Tensor> = self.tensors.values().cloned().collect();
        std::fs::write(dir.path().join("model.safetensors"), file_of(&tensors)).unwrap();
        std::fs::write(dir.path().join("config.json"), self.config.to_string()).unwrap();
        for (name, content) in &self.files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }
}
