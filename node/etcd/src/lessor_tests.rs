use super::*;
use crate::command;
use crate::limits::LEASE_CHANGES_KEPT;
use crate::state::tests::Machine;

const EPOCH: Epoch = Epoch(3);

fn seconds(s: u64) -> Micros {
    Micros::from_millis(s * 1_000)
}

/// A machine with leases of ten seconds, and the lessor of its primary, promoted at second 100.
fn promoted(leases: i64) -> (Machine, Lessor) {
    let mut m = Machine::new();
    for id in 1..=leases {
        m.grant(id).unwrap();
    }
    let lessor = Lessor::default();
    lessor.promote(EPOCH, &m.state.view(), seconds(100));
    (m, lessor)
}

fn expired(lessor: &Lessor, m: &Machine, now: Micros) -> Vec<i64> {
    let expired = lessor.take_expired(&m.state.view(), now, 1_000);
    expired.into_iter().map(|expired| expired.id).collect()
}

#[test]
fn a_lease_granted_to_a_primary_runs_out_after_its_time() {
    let (mut m, lessor) = promoted(0);
    m.grant(7).unwrap();
    assert_eq!(expired(&lessor, &m, seconds(200)), [] as [i64; 0]);
    assert_eq!(
        lessor.remaining(7, &m.state.view(), seconds(204)),
        Some(seconds(6))
    );
    assert_eq!(
        expired(&lessor, &m, Micros(seconds(210).0 - 1)),
        [] as [i64; 0]
    );
    assert_eq!(expired(&lessor, &m, seconds(210)), [7]);
}

#[test]
fn a_new_primary_gives_every_lease_its_full_time_and_some_more() {
    let (m, lessor) = promoted(1);
    let grace = Micros::from_millis(LEASE_PROMOTION_GRACE_MS);
    assert_eq!(
        lessor.remaining(1, &m.state.view(), seconds(100)),
        Some(seconds(10).plus(grace))
    );
    assert_eq!(expired(&lessor, &m, seconds(110)), [] as [i64; 0]);
    assert_eq!(expired(&lessor, &m, seconds(110).plus(grace)), [1]);
}

#[test]
fn a_renewal_gives_the_full_time_again() {
    let (m, lessor) = promoted(1);
    let view = m.state.view();
    assert_eq!(lessor.renew(1, &view, seconds(105)), Renewal::Renewed(10));
    assert_eq!(expired(&lessor, &m, seconds(114)), [] as [i64; 0]);
    assert_eq!(expired(&lessor, &m, seconds(115)), [1]);
    assert_eq!(lessor.renew(9, &view, seconds(105)), Renewal::Unknown);
}

#[test]
fn a_lease_that_ran_out_is_not_renewed_any_more() {
    let (mut m, lessor) = promoted(1);
    let view = m.state.view();
    assert_eq!(lessor.renew(1, &view, seconds(120)), Renewal::RanOut);
    m.revoke(1).unwrap();
    assert_eq!(lessor.renew(1, &view, seconds(120)), Renewal::Unknown);
}

#[test]
fn an_expiry_that_was_refused_is_tried_again() {
    let (m, lessor) = promoted(1);
    assert_eq!(expired(&lessor, &m, seconds(120)), [1]);
    assert_eq!(expired(&lessor, &m, seconds(121)), [] as [i64; 0]);
    assert_eq!(expired(&lessor, &m, seconds(123)), [1]);
}

#[test]
fn a_lease_granted_anew_under_its_id_has_a_time_of_its_own() {
    let (mut m, lessor) = promoted(1);
    assert_eq!(expired(&lessor, &m, seconds(120)), [1]);
    m.run(command::revoke_lease(1));
    m.grant(1).unwrap();
    assert_eq!(expired(&lessor, &m, seconds(124)), [] as [i64; 0]);
    assert_eq!(
        lessor.renew(1, &m.state.view(), seconds(130)),
        Renewal::Renewed(10)
    );
}

#[test]
fn leases_do_not_all_run_out_in_the_same_second_after_a_promotion() {
    let (m, lessor) = promoted(2_000);
    let counts: Vec<usize> = (111..115)
        .map(|at| {
            lessor
                .take_expired(&m.state.view(), seconds(at), 5_000)
                .len()
        })
        .collect();
    assert_eq!(
        counts,
        [750, 750, 500, 750],
        "the last are the first ones, tried again"
    );
}

#[test]
fn nothing_runs_out_but_on_the_primary() {
    let (m, lessor) = promoted(1);
    lessor.demote();
    let view = m.state.view();
    assert_eq!(expired(&lessor, &m, seconds(1_000)), [] as [i64; 0]);
    assert_eq!(lessor.renew(1, &view, seconds(101)), Renewal::NotPrimary);
    lessor.promote(EPOCH, &view, seconds(1_000));
    assert_eq!(expired(&lessor, &m, seconds(1_001)), [] as [i64; 0]);
}

#[test]
fn leases_are_listed_by_the_time_they_have() {
    let (m, lessor) = promoted(3);
    let view = m.state.view();
    lessor.renew(1, &view, seconds(105));
    lessor.renew(2, &view, seconds(104));
    assert_eq!(lessor.by_deadline(&view, seconds(106)), Some(vec![3, 2, 1]));
}

#[test]
fn a_lessor_that_fell_far_behind_looks_at_all_leases() {
    let (mut m, lessor) = promoted(1);
    m.run(command::revoke_lease(1));
    for id in 2..=i64::try_from(LEASE_CHANGES_KEPT).unwrap() + 10 {
        m.grant(id).unwrap();
    }
    let view = m.state.view();
    assert_eq!(lessor.renew(1, &view, seconds(101)), Renewal::Unknown);
    assert_eq!(lessor.renew(2, &view, seconds(101)), Renewal::Renewed(10));
}
