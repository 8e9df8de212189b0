"""Workers that start at once: what is found where they have not met in one study."""

from pathlib import Path

import optuna

from lab.hpo.open_study import open_study
from lab.hpo.storage import Database
from lab.hpo.trial_folder import write_trial
from lab.store import run_folder
from selftest.concurrent_workers import judge_new
from selftest.studies import small_study, trial_folder

VALUES = {"optimizer.lr": 0.01, "net.width": 8}


def test_a_second_study_and_a_second_trial_are_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    config = small_study(url, 1, run__epochs=1)
    database = Database(url)
    study = open_study(config, database)
    for number in (0, 1):
        study.enqueue_trial(VALUES)
        trial = study.ask(
            config.search_space and {n: p.distribution() for n, p in config.search_space.items()}
        )
        trial.report(0.5, 1)
        study.tell(trial, 0.5)
        folder = trial_folder(tmp_path, number)
        folder.mkdir(parents=True)
        (folder / run_folder.METRICS).write_text("epoch,val_loss\n1,0.5\n")
        write_trial(folder, {"params": VALUES})
        found = judge_new(config, tmp_path)
        assert found.counted() == {"lost": 0, "twice": 2 * number, "running": 0, "changed": 0}, found
    optuna.create_study(study_name="other", storage=database.storage)
    assert any("['small', 'other']" in line for line in judge_new(config, tmp_path).twice)
    database.engine.dispose()
