//! Each transition step by step, as text. A change of a text is a change of what the operator does:
//! look at it, then run with `STANDBY_REWRITE_GOLDEN=1`.

use std::path::Path;

use super::{Host, Sim, Volume};
use crate::plan::Phase;

fn golden(name: &str, sim: &Sim) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/replay/{name}.txt"));
    let story = sim.story();
    if std::env::var_os("STANDBY_REWRITE_GOLDEN").is_some() {
        std::fs::write(&path, &story).expect("the folder can be written");
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        file == story,
        "{} is not what happens:\n{story}",
        path.display()
    );
}

fn settled(sim: &mut Sim, phase: Phase) {
    let ended = sim.settle();
    assert_eq!(ended, phase, "{}", sim.text);
}

/// Every volume can be used only on the host it is on now.
fn bind_volumes(sim: &mut Sim) {
    sim.local_volumes = true;
    for name in ["db-1", "db-2", "db-3"] {
        let (host, volume) = (sim.host_of(name), sim.claims[name].volume.clone());
        let volume = volume.and_then(|volume| sim.volumes.get_mut(&volume));
        volume.expect("it runs").host = Some(host);
    }
}

#[test]
fn a_new_image_reaches_replicas_first_and_the_primary_last() {
    let mut sim = Sim::new(3);
    sim.say("the image changes");
    sim.template("2");
    settled(&mut sim, Phase::Healthy);
    assert!(sim.pods.values().all(|pod| pod.built_from == "2"));
    golden("roll-three", &sim);
}

#[test]
fn five_nodes_roll_one_by_one() {
    let mut sim = Sim::new(5);
    sim.say("the image changes");
    sim.template("2");
    settled(&mut sim, Phase::Healthy);
    assert!(sim.pods.values().all(|pod| pod.built_from == "2"));
    golden("roll-five", &sim);
}

#[test]
fn two_nodes_roll_although_nobody_can_stand_in() {
    let mut sim = Sim::new(2);
    sim.say("the image changes");
    sim.template("2");
    settled(&mut sim, Phase::Healthy);
    assert!(sim.pods.values().all(|pod| pod.built_from == "2"));
    golden("roll-two", &sim);
}

#[test]
fn a_single_node_is_replaced_where_it_stands() {
    let mut sim = Sim::new(1);
    sim.say("the image changes");
    sim.template("2");
    settled(&mut sim, Phase::Alone);
    assert!(sim.pods.values().all(|pod| pod.built_from == "2"));
    golden("roll-one", &sim);
}

#[test]
fn a_single_node_that_was_put_back_is_given_a_new_epoch() {
    let mut sim = Sim::new(1);
    sim.say("the volume is put back while the node is down");
    sim.put_back("db-1");
    settled(&mut sim, Phase::Alone);
    golden("put-back-one", &sim);
}

#[test]
fn a_standby_that_the_primary_does_not_hear_is_replaced_and_stays_a_replica() {
    let mut sim = Sim::new(3);
    sim.say("nothing that db-2 sends arrives at db-1 any more");
    sim.mute("db-2");
    settled(&mut sim, Phase::Healthy);
    sim.say("it arrives again");
    sim.unheard.clear();
    settled(&mut sim, Phase::Healthy);
    golden("unheard-three", &sim);
}

#[test]
fn a_standby_that_the_primary_does_not_hear_stays_if_nobody_can_take_its_place() {
    let mut sim = Sim::new(3);
    sim.say("nothing that db-2 and db-3 send arrives at db-1 any more");
    sim.mute("db-2");
    sim.mute("db-3");
    settled(&mut sim, Phase::Healthy);
    golden("unheard-all", &sim);
}

#[test]
fn a_new_image_that_does_not_start_stops_at_the_first_replica_and_a_better_one_goes_on() {
    let mut sim = Sim::new(3);
    sim.say("an image that cannot be pulled");
    sim.template("bad");
    sim.broken.insert("bad".into());
    settled(&mut sim, Phase::Healthy);
    assert_eq!(
        sim.pods.values().filter(|p| p.built_from == "bad").count(),
        1
    );
    sim.say("five minutes later");
    sim.pass(300_000);
    settled(&mut sim, Phase::Healthy);
    assert!(sim.text.contains("! RolloutStopped"), "{}", sim.text);
    sim.say("an image that works");
    sim.template("good");
    settled(&mut sim, Phase::Healthy);
    assert!(sim.pods.values().all(|pod| pod.built_from == "good"));
    golden("roll-stopped", &sim);
}

#[test]
fn a_rolling_change_waits_for_its_window_and_an_ordered_restart_does_not() {
    let mut sim = Sim::new(3);
    sim.window(false);
    sim.say("the image changes outside a maintenance window");
    sim.template("2");
    settled(&mut sim, Phase::Healthy);
    assert!(sim.pods.values().all(|pod| pod.built_from != "2"));
    sim.say("a person orders the restart of the primary and of db-3");
    let primary = sim.primary();
    sim.order_restart(&[&primary, "db-3"]);
    settled(&mut sim, Phase::Healthy);
    sim.say("the window opens");
    sim.window(true);
    settled(&mut sim, Phase::Healthy);
    assert!(sim.pods.values().all(|pod| pod.built_from == "2"));
    golden("roll-window", &sim);
}

#[test]
fn one_node_becomes_three_and_one_again() {
    let mut sim = Sim::new(1);
    sim.say("kubectl scale --replicas=3");
    sim.scale(3);
    settled(&mut sim, Phase::Healthy);
    sim.say("kubectl scale --replicas=1 with durability: Available");
    sim.scale(1);
    settled(&mut sim, Phase::Alone);
    assert_eq!((sim.pods.len(), sim.claims.len()), (1, 1));
    golden("scale", &sim);
}

#[test]
fn a_primary_above_the_number_asked_for_hands_over_before_it_goes() {
    let mut sim = Sim::new(3);
    sim.say("db-1 and db-2 are restarted until db-3 leads");
    for _ in 0..4 {
        if sim.primary() != "db-3" {
            let primary = sim.primary();
            sim.crash(&primary);
            sim.settle();
        }
    }
    sim.text.clear();
    let before = sim.primary();
    sim.say(&format!("kubectl scale --replicas=1 while {before} leads"));
    sim.scale(1);
    settled(&mut sim, Phase::Alone);
    assert_eq!(sim.primary(), "db-1");
    golden("scale-down-primary", &sim);
}

#[test]
fn the_claim_of_every_node_can_be_deleted_at_once_without_loss() {
    let mut sim = Sim::new(3);
    sim.say("kubectl delete pvc --all");
    for name in ["db-1", "db-2", "db-3"] {
        sim.delete_claim(name);
    }
    settled(&mut sim, Phase::Healthy);
    assert_eq!(sim.copies(), 3);
    golden("claims-deleted", &sim);
}

#[test]
fn a_lost_volume_is_replaced_by_an_empty_one_that_is_filled() {
    for (which, name) in [
        ("db-3", "volume-lost-replica"),
        ("db-1", "volume-lost-primary"),
    ] {
        let mut sim = Sim::new(3);
        sim.say(&format!("the volume of {which} is lost"));
        sim.lose_volume(which);
        settled(&mut sim, Phase::Healthy);
        assert_eq!(sim.copies(), 3);
        golden(name, &sim);
    }
}

#[test]
fn a_host_that_is_gone_with_its_volume_is_replaced_once_others_have_everything() {
    let mut sim = Sim::new(3);
    sim.local_volumes = true;
    bind_volumes(&mut sim);
    sim.say("the host of the primary is gone, and its Node object is deleted");
    let host = sim.host_of(&sim.primary());
    sim.host(&host, Host::Gone);
    settled(&mut sim, Phase::Healthy);
    sim.say("a minute later");
    sim.pass(60_000);
    settled(&mut sim, Phase::Healthy);
    assert_eq!(sim.pods.len(), 3);
    golden("host-gone", &sim);
}

#[test]
fn pods_on_a_cordoned_host_move_when_their_volume_can() {
    let mut sim = Sim::new(3);
    let host = sim.host_of(&sim.primary());
    sim.say("kubectl cordon the host of the primary; volumes can move");
    sim.host(&host, |_| Host::Cordoned);
    settled(&mut sim, Phase::Healthy);
    assert!(
        sim.pods
            .values()
            .all(|pod| pod.host.as_ref() != Some(&host))
    );
    golden("cordon-movable", &sim);
}

#[test]
fn the_primary_leaves_a_cordoned_host_even_when_its_volume_cannot() {
    let mut sim = Sim::new(3);
    bind_volumes(&mut sim);
    let primary = sim.primary();
    let host = sim.host_of(&primary);
    sim.say("kubectl cordon the host of the primary; volumes cannot move");
    sim.host(&host, |_| Host::Cordoned);
    settled(&mut sim, Phase::Healthy);
    assert_ne!(sim.primary(), primary);
    assert_eq!(sim.pods.len(), 3);
    golden("cordon-local", &sim);
}

#[test]
fn a_drained_primary_hands_over() {
    let mut sim = Sim::new(3);
    let primary = sim.primary();
    let host = sim.host_of(&primary);
    sim.say("kubectl drain: cordoned, and its pod is evicted at once");
    sim.host(&host, |_| Host::Cordoned);
    sim.delete_pod(&primary);
    settled(&mut sim, Phase::Healthy);
    golden("drain", &sim);
}

#[test]
fn all_pods_can_be_deleted_at_once() {
    let mut sim = Sim::new(3);
    sim.say("kubectl delete pods --all");
    for name in ["db-1", "db-2", "db-3"] {
        sim.delete_pod(name);
    }
    settled(&mut sim, Phase::Healthy);
    golden("pods-deleted", &sim);
}

#[test]
fn a_zone_with_primary_and_standby_is_lost_and_comes_back() {
    let mut sim = Sim::new(3);
    let (one, two) = (sim.host_of("db-1"), sim.host_of("db-2"));
    sim.say("the hosts of primary and standby are away");
    sim.host(&one, Host::Away);
    sim.host(&two, Host::Away);
    settled(&mut sim, Phase::Suspected);
    sim.say("they are back");
    sim.host(&one, |_| Host::Ready);
    sim.host(&two, |_| Host::Ready);
    settled(&mut sim, Phase::Healthy);
    golden("zone-lost", &sim);
}

#[test]
fn a_cluster_sleeps_and_wakes_with_everything() {
    let mut sim = Sim::new(3);
    sim.say("spec.hibernated: true");
    sim.cluster.hibernated = true;
    settled(&mut sim, Phase::Hibernated);
    assert_eq!((sim.pods.len(), sim.claims.len()), (0, 3));
    assert_eq!(sim.announced, None);
    let (epoch, written) = (sim.recorded.clone().map(|v| v.epoch), sim.acknowledged);
    sim.say("spec.hibernated: false");
    sim.cluster.hibernated = false;
    settled(&mut sim, Phase::Healthy);
    assert!(sim.recorded.clone().map(|v| v.epoch) > epoch);
    assert!(sim.acknowledged > written);
    golden("hibernate", &sim);
}

#[test]
fn a_cluster_that_changes_its_mind_half_asleep_wakes() {
    let mut sim = Sim::new(3);
    sim.cluster.hibernated = true;
    sim.turn();
    sim.turn();
    sim.cluster.hibernated = false;
    settled(&mut sim, Phase::Healthy);
}

/// A cluster of three that is deleted with its volumes kept, and made again with so many nodes.
fn adopted(instances: u32) -> Sim {
    let mut sim = Sim::new(3);
    sim.cluster.retain_volumes = true;
    sim.settle();
    sim.text.clear();
    sim.say("the cluster is deleted with deletionPolicy: Retain");
    sim.cluster.deleting = true;
    settled(&mut sim, Phase::Deleting);
    assert!(sim.claims.values().all(|claim| !claim.owned));
    let written = sim.acknowledged;
    sim.say(&format!(
        "Kubernetes collects the pods and the view; the name is used again, with {instances} nodes"
    ));
    sim.pods.clear();
    sim.recorded = None;
    sim.announced = None;
    sim.cluster.deleting = false;
    sim.scale(instances);
    sim.memory = crate::memory::Memory::default();
    settled(&mut sim, Phase::Healthy);
    assert!(sim.acknowledged > written);
    sim
}

#[test]
fn volumes_that_were_kept_are_adopted_by_a_new_cluster_of_the_same_name() {
    golden("adopt", &adopted(3));
}

#[test]
fn a_smaller_cluster_asks_every_volume_that_was_kept_before_it_lets_go_of_some() {
    let sim = adopted(2);
    assert_eq!((sim.pods.len(), sim.claims.len()), (2, 3));
    golden("adopt-fewer", &sim);
}

#[test]
fn a_larger_cluster_fills_new_volumes_beside_those_that_were_kept() {
    let sim = adopted(4);
    assert_eq!(sim.copies(), 4);
    golden("adopt-more", &sim);
}

#[test]
fn a_fenced_replica_does_not_stand_in_for_the_synchronous_node() {
    let mut sim = Sim::new(3);
    sim.say("db-3 is fenced, and the image changes");
    sim.cluster.orders.fenced.insert("db-3".into());
    sim.template("2");
    settled(&mut sim, Phase::Healthy);
    assert!(sim.pods.values().all(|pod| pod.built_from == "2"));
    assert_ne!(sim.primary(), "db-3");
    golden("roll-fenced", &sim);
}

#[test]
fn a_foreign_volume_is_refused_and_kept() {
    let mut sim = Sim::new(3);
    sim.say("db-3 comes back with the volume of another cluster");
    sim.crash("db-3");
    sim.pods.remove("db-3");
    let volume = "f0".repeat(8);
    sim.volumes.insert(
        volume.clone(),
        Volume {
            cluster: "another".into(),
            has: 99,
            ..Volume::default()
        },
    );
    sim.claims.get_mut("db-3").expect("it has a claim").volume = Some(volume.clone());
    settled(&mut sim, Phase::Healthy);
    sim.pass(600_000);
    settled(&mut sim, Phase::Healthy);
    assert!(sim.volumes.contains_key(&volume));
    golden("foreign-volume", &sim);
}

#[test]
fn claims_grow_with_the_specification() {
    let mut sim = Sim::new(3);
    sim.say("storage.size: 2Gi");
    sim.cluster.upkeep.storage_bytes = 2 << 30;
    settled(&mut sim, Phase::Healthy);
    assert!(sim.claims.values().all(|claim| claim.bytes == 2 << 30));
    golden("grow", &sim);
}
