//! The broker: messages that are acked, nacked, delayed, duplicated and lost.

use crate::action::Action;
use crate::protocol::{Departure, Protocol};
use crate::world::{Step, Worker, World};

pub(super) fn enabled(protocol: &Protocol, world: &World, actions: &mut Vec<Action>) {
    if world.resting > 0 {
        actions.push(Action::Return);
    }
    if world.faults_left == 0 {
        return;
    }
    if world.ready > 0 {
        actions.push(Action::Duplicate);
    }
    if world.ready > 0 && protocol.bounds.broker_loses {
        actions.push(Action::LoseReady);
    }
    if world.resting > 0 && protocol.bounds.broker_loses {
        actions.push(Action::LoseResting);
    }
}

pub(super) fn take(protocol: &Protocol, world: &mut World, action: Action) -> bool {
    match action {
        Action::Ack(index) => world.workers[index] = Worker::IDLE,
        Action::Nack(index) => {
            let returns = world.workers[index].has_delivery && !protocol.departs(Departure::NackDrops);
            world.resting += u8::from(returns);
            world.workers[index] = Worker::IDLE;
        }
        Action::Return => {
            world.resting -= 1;
            world.ready += 1;
        }
        Action::Disconnect(index) => {
            world.ready += 1;
            let worker = &mut world.workers[index];
            worker.has_delivery = false;
            if matches!(worker.step, Step::Settle | Step::Nack) {
                *worker = Worker::IDLE;
            }
        }
        Action::Duplicate => world.ready += 1,
        Action::LoseReady => world.ready = 0,
        Action::LoseResting => world.resting = 0,
        _ => return false,
    }
    true
}
