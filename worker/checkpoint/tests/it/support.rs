//! Fixture folders, and a small valid checkpoint that tests break in one place at a time.

use std::path::PathBuf;

use assay_checkpoint::safetensors::{Dtype, NewTensor, write};
use assay_checkpoint::{BaseModel, Content, Inspection, ListedFile, Listing, Verdict, verify};
use assay_contest::{CheckpointRules, Problem, RecipeRule};
use serde_json::{Value, json};

/// `tests/fixtures` of the workspace.
pub fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

pub fn checkpoint(name: &str) -> PathBuf {
    fixtures().join("checkpoints").join(name)
}

pub fn base() -> BaseModel {
    BaseModel::read_dir(&checkpoint("base")).unwrap()
}

pub fn rules() -> CheckpointRules {
    CheckpointRules {
        formats: [
            "dense",
            "pack-quantized",
            "int-quantized",
            "float-quantized",
            "nvfp4-pack-quantized",
            "mxfp4-pack-quantized",
            "mixed-precision",
        ]
        .map(String::from)
        .to_vec(),
        modules: vec!["Linear".into()],
        locked: vec!["vocab_size".into(), "hidden_size".into(), "rope_parameters".into()],
        max_bytes: 1 << 32,
        max_files: 30,
        recipe: RecipeRule::Optional,
        lineage: assay_contest::LineageRule::Report,
        deployment: None,
        kv_cache: assay_contest::CacheRule::Bfloat16,
    }
}

pub fn codes(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|p| p.code.as_str()).collect()
}

/// One tensor of a file under construction.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    pub data: Vec<u8>,
}

impl Tensor {
    pub fn new(name: &str, dtype: Dtype, shape: &[u64], fill: u8) -> Tensor {
        let bytes = shape.iter().product::<u64>() * dtype.bits() / 8;
        Tensor {
            name: name.into(),
            dtype,
            shape: shape.into(),
            data: vec![fill; bytes as usize],
        }
    }
}

pub fn file_of(tensors: &[Tensor]) -> Vec<u8> {
    let tensors: Vec<NewTensor> = tensors
        .iter()
        .map(|t| NewTensor {
            name: t.name.clone(),
            dtype: t.dtype,
            shape: t.shape.clone(),
            data: &t.data,
        })
        .collect();
    write(&tensors, &[("format", "pt")]).unwrap()
}

/// A submission that can be changed and judged: two layers, width 32, heads of 8, vocabulary of 16, W4A16 in groups of 16.
#[derive(Clone)]
pub struct Small {
    pub config: Value,
    pub tensors: Vec<Tensor>,
    /// further files: name and content
    pub files: Vec<(String, Vec<u8>)>,
}

pub const HIDDEN: u64 = 32;
pub const LAYERS: u64 = 2;
pub const MLP: u64 = 48;
pub const VOCAB: u64 = 16;
/// module suffix, rows, columns
pub const MATRICES: [(&str, u64, u64); 7] = [
    ("self_attn.q_proj", 32, 32),
    ("self_attn.k_proj", 16, 32),
    ("self_attn.v_proj", 16, 32),
    ("self_attn.o_proj", 32, 32),
    ("mlp.gate_proj", 48, 32),
    ("mlp.up_proj", 48, 32),
    ("mlp.down_proj", 32, 48),
];

impl Small {
    fn config() -> Value {
        json!({
            "architectures": ["Exaone4ForCausalLM"], "model_type": "exaone4", "vocab_size": VOCAB, "hidden_size": HIDDEN,
            "intermediate_size": MLP, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 8, "hidden_act": "silu", "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
            "rope_theta": 1e6, "sliding_window": null, "layer_types": ["full_attention", "full_attention"],
            "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 0, "torch_dtype": "bfloat16"
        })
    }

    fn skeleton() -> Vec<Tensor> {
        let mut tensors = vec![
            Tensor::new("model.embed_tokens.weight", Dtype::BF16, &[VOCAB, HIDDEN], 0x3C),
            Tensor::new("model.norm.weight", Dtype::BF16, &[HIDDEN], 0x3C),
        ];
        for i in 0..LAYERS {
            for (norm, width) in [
                ("self_attn.q_norm", 8),
                ("self_attn.k_norm", 8),
                ("post_attention_layernorm", HIDDEN),
                ("post_feedforward_layernorm", HIDDEN),
            ] {
                tensors.push(Tensor::new(
                    &format!("model.layers.{i}.{norm}.weight"),
                    Dtype::BF16,
                    &[width],
                    0x3C,
                ));
            }
        }
        tensors
    }

    pub fn dense() -> Small {
        let mut tensors = Self::skeleton();
        for i in 0..LAYERS {
            for (m, out, cols) in MATRICES {
                tensors.push(Tensor::new(
                    &format!("model.layers.{i}.{m}.weight"),
                    Dtype::BF16,
                    &[out, cols],
                    0x3C,
                ));
            }
        }
        Small {
            config: Self::config(),
            tensors,
            files: Vec::new(),
        }
    }

    pub fn packed() -> Small {
        Self::packed_with(
            &json!({"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 16, "dynamic": false}),
        )
    }

    /// Quantized as the arguments say (int, 4 or 8 bits).
    pub fn packed_with(weights: &Value) -> Small {
        let mut tensors = Self::skeleton();
        let bits = weights["num_bits"].as_u64().unwrap();
        let asym = weights["symmetric"] == false;
        for i in 0..LAYERS {
            for (m, out, cols) in MATRICES {
                let name = |suffix: &str| format!("model.layers.{i}.{m}.{suffix}");
                let groups = match weights["strategy"].as_str().unwrap() {
                    "group" => cols.div_ceil(weights["group_size"].as_u64().unwrap()),
                    _ => 1,
                };
                let per_tensor = weights["strategy"] == "tensor";
                let scale: &[u64] = if per_tensor { &[1] } else { &[out, groups] };
                tensors.push(Tensor::new(
                    &name("weight_packed"),
                    Dtype::I32,
                    &[out, (cols * bits).div_ceil(32)],
                    0x5A,
                ));
                tensors.push(Tensor::new(&name("weight_scale"), Dtype::BF16, scale, 0x3C));
                let mut shape = Tensor::new(&name("weight_shape"), Dtype::I64, &[2], 0);
                shape.data = [out.to_le_bytes(), cols.to_le_bytes()].concat();
                tensors.push(shape);
                if asym && per_tensor {
                    tensors.push(Tensor::new(&name("weight_zero_point"), Dtype::I8, &[1], 3));
                } else if asym {
                    tensors.push(Tensor::new(
                        &name("weight_zero_point"),
                        Dtype::I32,
                        &[(out * bits).div_ceil(32), groups],
                        0x21,
                    ));
                }
            }
        }
        let mut config = Self::config();
        config["quantization_config"] = json!({
            "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": null, "output_activations": null}},
            "ignore": ["lm_head"], "version": "0.19.0"
        });
        Small {
            config,
            tensors,
            files: Vec::new(),
        }
    }

    /// Codes of a byte each (I8, or F8_E4M3 for floats) with quantized inputs; both as the arguments say.
    pub fn coded(weights: &Value, input: &Value) -> Small {
        let mut tensors = Self::skeleton();
        let dtype = if weights["type"] == "int" {
            Dtype::I8
        } else {
            Dtype::F8_E4M3
        };
        for i in 0..LAYERS {
            for (m, out, cols) in MATRICES {
                let name = |suffix: &str| format!("model.layers.{i}.{m}.{suffix}");
                let scale = match weights["strategy"].as_str().unwrap() {
                    "group" => vec![out, cols / weights["group_size"].as_u64().unwrap()],
                    "tensor" => vec![1],
                    _ => vec![out, 1],
                };
                tensors.push(Tensor::new(&name("weight"), dtype, &[out, cols], 0x05));
                tensors.push(Tensor::new(&name("weight_scale"), Dtype::BF16, &scale, 0x3C));
                if weights["symmetric"] == false {
                    tensors.push(Tensor::new(&name("weight_zero_point"), Dtype::I8, &scale, 2));
                }
                if input["dynamic"] == false {
                    tensors.push(Tensor::new(&name("input_scale"), Dtype::BF16, &[1], 0x3C));
                    if input["symmetric"] == false {
                        tensors.push(Tensor::new(&name("input_zero_point"), Dtype::I8, &[1], 9));
                    }
                }
            }
        }
        let mut config = Self::config();
        let format = if dtype == Dtype::I8 {
            "int-quantized"
        } else {
            "float-quantized"
        };
        config["quantization_config"] = json!({
            "quant_method": "compressed-tensors", "format": format, "quantization_status": "compressed",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": input, "output_activations": null}},
            "ignore": ["lm_head"], "version": "0.19.0"
        });
        Small {
            config,
            tensors,
            files: Vec::new(),
        }
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap()
    }

    pub fn without(mut self, name: &str) -> Small {
        let before = self.tensors.len();
        self.tensors.retain(|t| t.name != name);
        assert!(self.tensors.len() < before, "{name}");
        self
    }

    pub fn with(mut self, tensor: Tensor) -> Small {
        self.tensors.push(tensor);
        self
    }

    pub fn file(mut self, name: &str, content: &[u8]) -> Small {
        self.files.push((name.into(), content.into()));
        self
    }

    /// Changes config.json.
    pub fn set(mut self, field: &str, value: Value) -> Small {
        self.config[field] = value;
        self
    }

    pub fn unset(mut self, field: &str) -> Small {
        self.config.as_object_mut().unwrap().shift_remove(field).unwrap();
        self
    }

    pub fn quant(mut self, change: impl FnOnce(&mut Value)) -> Small {
        change(&mut self.config["quantization_config"]);
        self
    }

    pub fn listing(&self) -> Listing {
        listing_of(
            &self.config.to_string().into_bytes(),
            &file_of(&self.tensors),
            &self.files,
        )
    }

    pub fn inspect(&self) -> Inspection {
        verify(&self.listing(), None, None)
    }

    /// Writes the folder.
    pub fn save(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), self.config.to_string()).unwrap();
        std::fs::write(dir.path().join("model.safetensors"), file_of(&self.tensors)).unwrap();
        for (name, content) in &self.files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }
}

/// A listing with `model.safetensors` and further files.
pub fn listing_of(config: &[u8], weights: &[u8], files: &[(String, Vec<u8>)]) -> Listing {
    let text = |name: &str, bytes: &[u8]| ListedFile {
        name: name.into(),
        bytes: bytes.len() as u64,
        content: Content::Text(bytes.into()),
    };
    let mut all = vec![text("config.json", config), weights_of("model.safetensors", weights)];
    all.extend(files.iter().map(|(name, bytes)| match name.ends_with(".safetensors") {
        true => weights_of(name, bytes),
        false => text(name, bytes),
    }));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Listing { files: all }
}

pub fn weights_of(name: &str, bytes: &[u8]) -> ListedFile {
    let prefix = bytes.len().min(9 << 20);
    ListedFile {
        name: name.into(),
        bytes: bytes.len() as u64,
        content: Content::Header(bytes[..prefix].to_vec()),
    }
}

/// What is wrong with it, the codes expected, the submission.
pub type Case = (&'static str, &'static [&'static str], Small);

/// Judges each by itself.
pub fn judge(cases: Vec<Case>) {
    for (what, expected, small) in cases {
        let found = small.inspect();
        assert_eq!(codes(&found.problems), expected, "{what}: {:#?}", found.problems);
        assert_eq!(
            found.verdict,
            if expected.is_empty() {
                Verdict::Accepted
            } else {
                Verdict::Rejected
            },
            "{what}"
        );
    }
}
