//! The CEL rules of `StandbyView` and the rules in Rust give the same verdict on every change.

use kube_cel::Validator;
use kube_cel::compile_schema;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};
use standby_api::{Consent, ConsentKind, StandbyViewSpec, check_change};
use standby_core::View;

const NODES: [&str; 4] = [
    "db-1/0000000000000001",
    "db-2/0000000000000002",
    "db-3/0000000000000003",
    // The second node's pod with another volume: another node.
    "db-2/00000000000000ff",
];

/// The schema of the spec. The evaluator knows no optional `oldSelf`: what `hasValue()` would answer
/// is put in its place.
fn schema(updating: bool) -> Value {
    let definition = standby_api::crds::definitions()
        .into_iter()
        .find(|definition| definition["spec"]["names"]["kind"] == "StandbyView")
        .expect("the view is among the custom resources");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut spec = schema["properties"]["spec"].clone();
    let rules = spec["x-kubernetes-validations"]
        .as_array_mut()
        .expect("the spec has rules");
    let mut replaced = 0;
    for rule in rules {
        if rule["optionalOldSelf"] == json!(true) {
            let text = rule["rule"].as_str().expect("a rule is text");
            rule["rule"] = json!(text.replace("oldSelf.hasValue()", &updating.to_string()));
            rule.as_object_mut()
                .expect("a rule is an object")
                .remove("optionalOldSelf");
            replaced += 1;
        }
    }
    assert_eq!(replaced, 1, "one rule alone speaks of creation");
    spec
}

fn cel_verdict(old: Option<&StandbyViewSpec>, new: &StandbyViewSpec) -> Result<(), String> {
    thread_local! {
        static COMPILED: [kube_cel::CompiledSchema; 2] =
            [compile_schema(&schema(false)), compile_schema(&schema(true))];
    }
    // To the API server these lists are sets; to the evaluator their order matters.
    let value = |spec: &StandbyViewSpec| {
        let mut spec = spec.clone();
        spec.synchronous.sort();
        spec.complete.sort();
        serde_json::to_value(spec).expect("a spec is JSON")
    };
    let old = old.map(value);
    COMPILED.with(|compiled| {
        Validator::new()
            .validate_compiled(
                &compiled[usize::from(old.is_some())],
                &value(new),
                old.as_ref(),
            )
            .map_err(|errors| errors.to_string())
    })
}

fn some_nodes() -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(NODES.to_vec(), 0..=NODES.len())
        .prop_map(|nodes| nodes.into_iter().map(str::to_owned).collect())
}

fn a_node() -> impl Strategy<Value = String> {
    proptest::sample::select(NODES.to_vec()).prop_map(str::to_owned)
}

prop_compose! {
    fn a_consent()(recovery in any::<bool>(), epoch in 1_i64..5) -> Consent {
        Consent {
            kind: if recovery { ConsentKind::Recovery } else { ConsentKind::AcceptDataLoss },
            epoch,
            by: "ada".into(),
            why: "the host burned".into(),
            may_lose: "the last second".into(),
        }
    }
}

prop_compose! {
    /// Any view, most of them against the rules.
    fn any_view()(
        cluster in 0_u8..8,
        epoch in 1_i64..5,
        primary in a_node(),
        synchronous in some_nodes(),
        alone in proptest::bool::weighted(0.2),
        complete in some_nodes(),
        consent in proptest::option::weighted(0.3, a_consent()),
    ) -> StandbyViewSpec {
        StandbyViewSpec {
            cluster_id: if cluster == 0 { "other" } else { "this" }.into(),
            epoch, primary, synchronous, alone, complete, consent,
        }
    }
}

prop_compose! {
    /// A view that obeys the rules that concern one view.
    fn valid_view()(
        epoch in 1_i64..4,
        primary in a_node(),
        others in some_nodes(),
        shape in 0_u8..3,
    ) -> StandbyViewSpec {
        let others: Vec<String> = others.into_iter().filter(|node| *node != primary).collect();
        let mut complete = if shape == 1 { Vec::new() } else { others.clone() };
        complete.push(primary.clone());
        complete.sort();
        StandbyViewSpec {
            cluster_id: "this".into(),
            epoch,
            primary,
            synchronous: if shape == 0 { others } else { Vec::new() },
            alone: shape == 1,
            complete,
            consent: None,
        }
    }
}

/// A pair of views of which a good part may follow each other.
fn a_change() -> impl Strategy<Value = (StandbyViewSpec, StandbyViewSpec)> {
    let next_epoch = prop_oneof![8 => Just(1_i64), 1 => Just(0), 1 => Just(2), 1 => Just(-1)];
    let near = (
        valid_view(),
        valid_view(),
        next_epoch,
        proptest::option::weighted(0.4, a_consent()),
    )
        .prop_map(|(old, mut new, step, consent)| {
            new.epoch = (old.epoch + step).max(1);
            new.consent = consent.map(|consent| Consent {
                epoch: new.epoch,
                ..consent
            });
            (old, new)
        });
    let same = valid_view().prop_map(|view| (view.clone(), view));
    let any = (valid_view(), any_view());
    prop_oneof![6 => near, 1 => same, 3 => any]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_api_server_and_the_operator_give_the_same_verdict_on_a_change(
        (old, new) in a_change()
    ) {
        let rust = check_change(Some(&old), &new);
        let cel = cel_verdict(Some(&old), &new);
        prop_assert_eq!(rust.is_ok(), cel.is_ok(), "Rust: {:?}, CEL: {:?}", rust, cel);
    }

    #[test]
    fn the_api_server_and_the_operator_give_the_same_verdict_on_a_creation(
        new in prop_oneof![any_view(), valid_view()]
    ) {
        let rust = check_change(None, &new);
        let cel = cel_verdict(None, &new);
        prop_assert_eq!(rust.is_ok(), cel.is_ok(), "Rust: {:?}, CEL: {:?}", rust, cel);
    }

    #[test]
    fn without_consent_a_change_passes_exactly_if_the_rules_of_views_allow_it(
        (old, new) in a_change()
    ) {
        // The rules of views know nothing of recording the same view again.
        let epoch = if new.epoch == old.epoch { old.epoch + 1 } else { new.epoch };
        let new = StandbyViewSpec { consent: None, epoch, ..new };
        let view = |spec: &StandbyViewSpec| View::try_from(spec).expect("every node is well formed");
        let verdict = view(&old).check_successor(&view(&new));
        let cel = cel_verdict(Some(&old), &new);
        prop_assert_eq!(verdict.is_ok(), cel.is_ok(), "Rust: {:?}, CEL: {:?}", verdict, cel);
    }

    #[test]
    fn a_view_survives_being_recorded(spec in valid_view()) {
        let view = View::try_from(&spec).expect("every node is well formed");
        prop_assert_eq!(View::try_from(&StandbyViewSpec::from(&view)), Ok(view));
    }
}

fn base() -> StandbyViewSpec {
    StandbyViewSpec {
        cluster_id: "this".into(),
        epoch: 7,
        primary: NODES[0].into(),
        synchronous: vec![NODES[1].into()],
        alone: false,
        complete: vec![NODES[0].into(), NODES[1].into()],
        consent: None,
    }
}

fn promoted(node: &str) -> StandbyViewSpec {
    StandbyViewSpec {
        epoch: 8,
        primary: node.into(),
        synchronous: Vec::new(),
        complete: vec![node.into()],
        ..base()
    }
}

fn consent(kind: ConsentKind, epoch: i64) -> Consent {
    Consent {
        kind,
        epoch,
        by: "ada".into(),
        why: "both hosts burned".into(),
        may_lose: "the last second".into(),
    }
}

fn both_refuse(old: Option<&StandbyViewSpec>, new: &StandbyViewSpec, rule: &str) {
    assert!(check_change(old, new).is_err(), "{new:?}");
    let text = cel_verdict(old, new).expect_err("must be refused");
    assert!(text.contains(rule), "{text}");
}

#[test]
fn a_node_that_lacks_writes_is_promoted_only_with_consent_for_that_very_epoch() {
    let stale = promoted(NODES[2]);
    both_refuse(
        Some(&base()),
        &stale,
        "was not complete in the recorded epoch",
    );
    both_refuse(
        Some(&base()),
        &stale
            .clone()
            .with_consent(consent(ConsentKind::AcceptDataLoss, 7)),
        "consent must name the epoch it is for",
    );
    let agreed = stale.with_consent(consent(ConsentKind::AcceptDataLoss, 8));
    assert_eq!(check_change(Some(&base()), &agreed), Ok(()));
    assert_eq!(cel_verdict(Some(&base()), &agreed), Ok(()));
}

#[test]
fn consent_to_losing_data_leaves_nobody_else_complete() {
    let mut new = promoted(NODES[2]).with_consent(consent(ConsentKind::AcceptDataLoss, 8));
    new.complete.push(NODES[1].into());
    both_refuse(Some(&base()), &new, "only the new primary is complete");
}

#[test]
fn consent_to_losing_data_skips_no_epoch() {
    let mut new = promoted(NODES[2]).with_consent(consent(ConsentKind::AcceptDataLoss, 9));
    new.epoch = 9;
    both_refuse(Some(&base()), &new, "epoch must be one more than recorded");
}

#[test]
fn a_lost_view_is_continued_only_with_consent_to_recovery() {
    let mut new = promoted(NODES[0]);
    new.epoch = 41;
    both_refuse(None, &new, "the first view must have epoch 1");
    let agreed = new.with_consent(consent(ConsentKind::Recovery, 41));
    assert_eq!(check_change(None, &agreed), Ok(()));
    assert_eq!(cel_verdict(None, &agreed), Ok(()));
    assert_eq!(
        cel_verdict(Some(&base()), &agreed),
        Ok(()),
        "restored from an older backup"
    );
}

#[test]
fn not_even_recovery_goes_back() {
    let new = StandbyViewSpec {
        epoch: 6,
        ..promoted(NODES[0])
    }
    .with_consent(consent(ConsentKind::Recovery, 6));
    both_refuse(Some(&base()), &new, "epoch must be one more than recorded");
}

#[test]
fn a_recorded_view_never_changes() {
    let agreed = base().with_consent(consent(ConsentKind::AcceptDataLoss, 7));
    both_refuse(Some(&base()), &agreed, "a recorded view never changes");
}

#[test]
fn the_random_changes_are_neither_all_good_nor_all_bad() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut good, mut agreed) = (0, 0);
    for _ in 0..1_000 {
        let (old, new) = a_change()
            .new_tree(&mut runner)
            .expect("a change")
            .current();
        if check_change(Some(&old), &new).is_ok() {
            good += 1;
            agreed += usize::from(new.consent.is_some());
        }
    }
    assert!((100..900).contains(&good), "{good} of 1000 changes pass");
    assert!(agreed > 20, "{agreed} of 1000 changes pass with consent");
}
