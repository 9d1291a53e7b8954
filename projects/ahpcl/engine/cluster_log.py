"""All that the controller writes: log lines and scalars."""

from mmengine.runner import Runner

from ahpcl.core import ClusterLadder, Decision

from .estep import EStepResult

ACTIONS = {'keep': 0, 'raise_threshold': 1, 'advance': 2}


class ClusterLog:
    """Writes E-steps and decisions to the logger and every vis backend.

    Scalars go to the visualizer straight, once: the message hub would repeat
    them in every later line.
    """

    def __init__(self) -> None:
        self._told_exhausted = False
        self._estep_took: float | None = None  # the last one of this process

    def plan(
        self,
        runner: Runner,
        ladder: ClusterLadder,
        policy: object | None,
        first_epoch: int,
    ) -> None:
        """Compare the epochs the ladder needs with the epochs set."""
        text = ', '.join(map(str, ladder.rungs))
        head = (
            f'ladder: {text}; {ladder.window} rungs in use, now '
            f'{_rungs(ladder.current)}'
        )
        if policy is None:
            runner.logger.info(f'{head}; no policy, the ladder stays')
            return
        start = ladder.position + ladder.window
        stays = ladder.rungs[start - 1 : -1]
        fewest, most = policy.epochs_needed(stays)
        fewest += first_epoch
        total = runner.max_epochs
        line = (
            f'{head}; {len(stays)} advances to its end need {fewest} epochs '
            'at least, '
        )
        if most is None:
            line += 'without a limit (max_epochs of the policy sets one)'
        else:
            most += first_epoch
            line += f'{most} at most'
        line += f'; {total} epochs are set'
        if fewest > total:
            runner.logger.warning(f'{line}: the ladder cannot end')
        elif most is None or most > total:
            runner.logger.warning(f'{line}: the ladder may not end')
        else:
            runner.logger.info(line)

    def estep(
        self,
        runner: Runner,
        result: EStepResult,
        ends_after: int | None = None,
    ) -> None:
        """Write the statistics of an E-step.

        Args:
            runner: The runner.
            result: What the E-step gave.
            ends_after: Number of the epoch after which it ends the run; None
                before an epoch.
        """
        when = f'before epoch {runner.epoch + 1}'
        if ends_after is not None:
            when = f'after epoch {ends_after}, for the last weights'
        what = 'keys of the bank' if result.from_bank else 'extraction'
        scalars = {
            'estep/seconds_extract': result.extract_seconds,
            'estep/seconds_cluster': result.cluster_seconds,
        }
        if result.spared_seconds is not None:
            what += f' for an extraction of {result.spared_seconds:.2f} s,'
        self._estep_took = result.extract_seconds + result.cluster_seconds
        lines = [
            f'E-step {when}: {what} {result.extract_seconds:.2f} s, '
            f'clustering {result.cluster_seconds:.2f} s'
            + (f' ({result.effort})' if result.effort else '')
        ]
        for rung, row in result.summary().items():
            agreement = row.get('agreement')
            lines.append(
                f'  K={rung}: {row["clusters"]} in use, objective '
                f'{row["objective"]:.4f}, sizes {row["size_min"]} / '
                f'{row["size_median"]:g} / {row["size_max"]} (min / median / '
                f'max), {row["repaired"]} empty repaired, agreement '
                + ('none' if agreement is None else f'{agreement:.3f}')
            )
            for name, value in row.items():
                scalars[f'estep/k{rung}/{name}'] = value
        runner.logger.info('\n'.join(lines))
        runner.visualizer.add_scalars(scalars, step=runner.iter)

    def goes_on(self, runner: Runner) -> None:
        """Say that the run begins with the prototypes that it ended with."""
        runner.logger.info(
            f'epoch {runner.epoch + 1} begins with the prototypes that the '
            'run had ended with'
        )

    def epoch(
        self,
        runner: Runner,
        *,
        means: dict[str, float],
        shown: tuple[float, float] | None,
        rungs: tuple[int, ...],
        decision: Decision | None,
        advanced: bool,
        ladder: ClusterLadder,
        policy: object | None,
        agreement: float | None,
        estep: EStepResult | None,
        seconds: float,
    ) -> None:
        """Write the means, the decision and the share of the E-step.

        ``shown`` are the accuracies that the policy saw, where they are not
        those of the epoch.
        """
        scalars: dict[str, float] = {'epoch/acc_inst': means['acc_inst']}
        line = f'epoch {runner.epoch + 1}: acc_inst {means["acc_inst"]:.2f}'
        if means['acc_proto'] == means['acc_proto']:
            scalars['epoch/acc_proto'] = means['acc_proto']
            scalars['ladder/newest'] = rungs[-1]
            line += (
                f', acc_proto {means["acc_proto"]:.2f} at K = {_rungs(rungs)}'
            )
        else:
            line += ', warm-up without prototypes'
        if agreement is not None:
            scalars['policy/agreement'] = agreement
        if decision is not None:
            scalars['policy/action'] = ACTIONS[decision.action]
            line += f'; {decision.action}: {decision.reason}'
            threshold = getattr(policy, 'threshold', None)
            if threshold is not None:
                scalars['policy/threshold'] = threshold
        share = 0.0
        if estep is not None:
            share = estep.extract_seconds + estep.cluster_seconds
            share = 100 * share / seconds
        scalars['estep/share'] = share
        line += f'; {seconds:.1f} s, E-step {share:.0f} %'
        if (
            estep is None
            and 'ladder/newest' in scalars
            and self._estep_took is not None
        ):
            line += f' (none in it; the last took {self._estep_took:.2f} s)'
        if shown is not None:
            scalars['policy/acc_inst'], scalars['policy/acc_proto'] = shown
            line += (
                f'; the policy saw means over epochs, acc_inst {shown[0]:.2f} '
                f'and acc_proto {shown[1]:.2f}'
            )
        runner.logger.info(line)
        if advanced:
            runner.logger.info(f'ladder: now {_rungs(ladder.current)}')
            forget_scalars(runner, set(rungs) - set(ladder.current))
        elif (
            decision is not None
            and decision.action == 'advance'
            and not self._told_exhausted
        ):
            self._told_exhausted = True
            runner.logger.info(
                'ladder: at its end, nothing left to advance to; the rungs '
                f'{_rungs(rungs)} stay'
            )
        runner.visualizer.add_scalars(scalars, step=runner.iter)

    def state_dict(self) -> dict:
        """What was said already."""
        return dict(told_exhausted=self._told_exhausted)

    def load_state_dict(self, state: dict) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._told_exhausted = bool(state['told_exhausted'])


def forget_scalars(runner: Runner, rungs: set[int]) -> None:
    """Take the accuracies of rungs that left the window out of the log."""
    for rung in rungs:
        name = f'train/acc_proto_k{rung}'
        runner.message_hub.log_scalars.pop(name, None)
        # mmengine keeps the name among those to resume and warns for ever.
        runner.message_hub._resumed_keys.pop(name, None)


def _rungs(rungs: tuple[int, ...]) -> str:
    return ', '.join(map(str, rungs))
