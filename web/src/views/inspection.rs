//! What a precheck found, as the upload panel shows it: problems, weight, findings.

use super::problem::ProblemView;
use super::weight::WeightFragment;
use crate::i18n::Locale;
use askama::Template;
use serde_json::Value;

/// The body of a verdict, a piece of HTML for the panel's script to put into the page.
#[derive(Clone, Debug, Default, Template)]
#[template(path = "fragments/inspection.html")]
pub struct InspectionFragment {
    /// The language.
    pub locale: Locale,
    /// What breaks a rule; empty when accepted.
    pub problems: Vec<ProblemView>,
    /// What is worth knowing and breaks no rule.
    pub findings: Vec<ProblemView>,
    /// Exact weight and hints; `None` when it could not be weighed.
    pub weight: Option<WeightFragment>,
}

impl InspectionFragment {
    /// Reads an inspection as the verifier writes it. `base_bytes` is the base model's weight.
    pub fn new(locale: Locale, base_bytes: Option<u64>, inspection: &Value) -> InspectionFragment {
        InspectionFragment {
            locale,
            problems: ProblemView::list_from_json(locale, &inspection["problems"]),
            findings: ProblemView::list_from_json(locale, &inspection["findings"]),
            weight: WeightFragment::from_inspection(locale, base_bytes, inspection),
        }
    }

    fn t(&self, key: &str) -> String {
        self.locale.t(key)
    }
}
