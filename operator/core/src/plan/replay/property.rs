//! Whatever people and fate do, in any order: never two nodes are taken at once, never is a claim
//! deleted that the view names as complete, nothing that was acknowledged is lost; and when they stop,
//! the cluster becomes what was asked for.

use proptest::prelude::*;

use super::{Host, Sim};
use crate::plan::Phase;

#[derive(Clone, Debug)]
enum Event {
    Template(u8),
    Broken(u8),
    Scale(u32),
    DeletePod(u32),
    DeleteClaim(u32),
    Crash(u32),
    Cordon(u32),
    Uncordon(u32),
    Restart(u32),
    Hibernate(bool),
    Window(bool),
    NewOperator,
    Looks(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let node = 1..=4_u32;
    prop_oneof![
        2 => (0..3_u8).prop_map(Event::Template),
        1 => (0..3_u8).prop_map(Event::Broken),
        1 => (2..=4_u32).prop_map(Event::Scale),
        1 => node.clone().prop_map(Event::DeletePod),
        1 => node.clone().prop_map(Event::DeleteClaim),
        1 => node.clone().prop_map(Event::Crash),
        1 => (1..=5_u32).prop_map(Event::Cordon),
        1 => (1..=5_u32).prop_map(Event::Uncordon),
        1 => node.prop_map(Event::Restart),
        1 => any::<bool>().prop_map(Event::Hibernate),
        1 => any::<bool>().prop_map(Event::Window),
        1 => Just(Event::NewOperator),
        8 => (1..12_u8).prop_map(Event::Looks),
    ]
}

fn happen(sim: &mut Sim, event: &Event) {
    sim.say(&format!("{event:?}"));
    let pod = |serial: &u32| format!("db-{serial}");
    match event {
        Event::Template(word) => sim.template(&format!("template-{word}")),
        Event::Broken(word) => {
            sim.broken = [format!("template-{word}")].into();
        }
        Event::Scale(instances) => sim.scale(*instances),
        Event::DeletePod(serial) => sim.delete_pod(&pod(serial)),
        // Whoever deletes the last copy has deleted it.
        Event::DeleteClaim(serial) => {
            let name = pod(serial);
            let view = sim.recorded.as_ref().expect("it has a view");
            let others = view.complete.iter().filter(|node| node.name != name);
            let ending = sim.claims.values().any(|claim| claim.deleting);
            if !ending
                && others
                    .filter(|node| sim.id(&node.name).as_ref() == Some(*node))
                    .count()
                    >= 1
            {
                sim.delete_claim(&name);
            }
        }
        Event::Crash(serial) => sim.crash(&pod(serial)),
        Event::Cordon(host) => sim.host(&format!("host-{host}"), |_| Host::Cordoned),
        Event::Uncordon(host) => sim.host(&format!("host-{host}"), |_| Host::Ready),
        Event::Restart(serial) => {
            if sim.pods.contains_key(&pod(serial)) {
                sim.order_restart(&[&pod(serial)]);
            }
        }
        Event::Hibernate(asleep) => sim.cluster.hibernated = *asleep,
        Event::Window(open) => sim.window(*open),
        Event::NewOperator => sim.memory = crate::memory::Memory::default(),
        Event::Looks(times) => {
            for _ in 0..*times {
                sim.turn();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_at_most_one_node_is_taken_and_all_becomes_as_asked_for(
        instances in 2..=4_u32,
        events in prop::collection::vec(event(), 0..40),
    ) {
        let mut sim = Sim::new(instances);
        for event in &events {
            happen(&mut sim, event);
        }
        sim.say("everything ends");
        sim.broken.clear();
        // A pair whose claim was deleted needs a third node to replace it.
        sim.scale(4);
        sim.cluster.hibernated = false;
        sim.window(true);
        for serial in 1..=5 {
            sim.host(&format!("host-{serial}"), |_| Host::Ready);
        }
        let phase = sim.settle();
        prop_assert_eq!(phase, Phase::Healthy, "{}", sim.text);
        let wanted = sim.cluster.upkeep.built_from.clone();
        prop_assert!(sim.pods.values().all(|pod| pod.built_from == wanted), "{}", sim.text);
        prop_assert_eq!(sim.pods.len(), sim.cluster.wanted.len(), "{}", sim.text);
        prop_assert_eq!(sim.claims.len(), sim.cluster.wanted.len(), "{}", sim.text);
    }
}
