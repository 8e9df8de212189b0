BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE lab_leases (
	trial_id INTEGER NOT NULL, 
	owner VARCHAR(255) NOT NULL, 
	token INTEGER NOT NULL, 
	expires FLOAT NOT NULL, 
	PRIMARY KEY (trial_id)
);
INSERT INTO "lab_leases" VALUES(1,'',1,0.0);
INSERT INTO "lab_leases" VALUES(2,'',1,0.0);
INSERT INTO "lab_leases" VALUES(3,'',1,0.0);
INSERT INTO "lab_leases" VALUES(4,'',1,0.0);
INSERT INTO "lab_leases" VALUES(5,'',1,0.0);
INSERT INTO "lab_leases" VALUES(6,'',1,0.0);
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'sky');
INSERT INTO "studies" VALUES(2,'curve');
INSERT INTO "studies" VALUES(3,'patients');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MINIMIZE',2,0);
INSERT INTO "study_directions" VALUES(3,'MINIMIZE',3,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'identity','"ead0a11895d942d18dd1a1d38e6de47b"');
INSERT INTO "study_user_attributes" VALUES(2,1,'config','{"study_name": "sky", "run": {"project": "old", "name": "sky", "task": {"target": "lab.tasks.Segmentation", "classes": "auto", "tile": 32, "overlap": 0, "divisor": 1}, "data": {"target": "lab.data.image_folder", "root": "data/sky", "classes": {"sky": 0, "road": 1, "car": 2}, "grayscale": true, "val_share": 0.5}, "net": {"target": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 3, "kernel_size": 1}, "criterion": {"target": "lab.losses.WeightedSum", "terms": {"cross_entropy": 1.0, "dice": 1.0}}, "metrics": {"dice": "lab.metrics.Dice", "dice_car": {"target": "lab.metrics.Dice", "class_index": 2}}, "monitor": {"metric": "val_dice", "mode": "max"}, "optimizer": {"target": "torch.optim.SGD", "lr": 0.1}, "epochs": 2, "batch_size": 2, "device": "cpu", "trackers": [], "pictures": {"enabled": false}}, "set": {}, "storage": "sqlite:///studies.db", "n_trials": 2, "time_budget": null, "trial_timeout": null, "seed": 0, "sampler": {"target": "optuna.samplers.TPESampler"}, "pruner": null, "prune_on": null, "workers": null, "devices": [], "isolation": "process", "search_space": {"optimizer.lr": {"type": "float", "low": 0.01, "high": 0.5, "step": null, "log": true, "when": {}}}, "retention": {"keep_best": 3, "max_disk_gb": null, "pruned": false}, "preflight": "cheap", "on_oom": "infeasible", "max_consecutive_failures": 3, "max_attempts": 2, "lease_seconds": 60.0, "confirm": null}');
INSERT INTO "study_user_attributes" VALUES(3,1,'base','{"project": "old", "name": "sky", "seeds": [0], "folds": null, "device": "cpu", "precision": "fp32", "epochs": 2, "batch_size": 2, "task": {"target": "lab.tasks.Segmentation", "classes": "auto", "tile": 32, "overlap": 0, "divisor": 1}, "data": {"target": "lab.data.image_folder", "root": "data/sky", "classes": {"sky": 0, "road": 1, "car": 2}, "grayscale": true, "val_share": 0.5}, "net": {"target": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 3, "kernel_size": 1}, "criterion": {"target": "lab.losses.WeightedSum", "terms": {"cross_entropy": 1.0, "dice": 1.0}}, "metrics": {"dice": {"target": "lab.metrics.Dice"}, "dice_car": {"target": "lab.metrics.Dice", "class_index": 2}}, "optimizer": {"target": "torch.optim.SGD", "lr": 0.1}, "scheduler": null, "early_stopping_config": null, "monitor": {"metric": "val_dice", "mode": "max", "returns": "best", "also": []}, "checkpoint": {"every_epochs": null, "every_seconds": 0.0, "every_n_steps": null}, "trackers": [], "loader": {"workers": 0, "prefetch": 2, "pin_memory": null, "drop_last": false}, "gradient_clip_norm": null, "accumulate_grad_batches": 1, "check_gradients": false, "ema": null, "compile": false, "channels_last": false, "deterministic": false, "threads": null, "log_every_steps": 10, "diagnostics": {"metric": "dice", "least": 0.6, "after_epochs": 20, "gap": 0.2}, "pictures": {"enabled": false, "every_epochs": 10, "count": 4}}');
INSERT INTO "study_user_attributes" VALUES(4,1,'versions','{"torch": "2.14.1", "optuna": "5.0.0"}');
INSERT INTO "study_user_attributes" VALUES(5,2,'identity','"2284e6ecd98c4b6f9e852db10dc4639e"');
INSERT INTO "study_user_attributes" VALUES(6,2,'config','{"study_name": "curve", "run": {"project": "old", "name": "curve", "data": {"target": "lab.data.function", "name": "sin", "train_count": 20, "val_count": 10}, "net": {"target": "torch.nn.Linear", "in_features": 1, "out_features": 1}, "criterion": "torch.nn.MSELoss", "optimizer": {"target": "torch.optim.SGD", "lr": 0.01}, "metrics": {"mae": "lab.metrics.MAE"}, "epochs": 2, "batch_size": 10, "device": "cpu", "trackers": [], "pictures": {"enabled": false}}, "set": {}, "storage": "sqlite:///studies.db", "n_trials": 2, "time_budget": null, "trial_timeout": null, "seed": 0, "sampler": {"target": "optuna.samplers.TPESampler"}, "pruner": null, "prune_on": null, "workers": null, "devices": [], "isolation": "process", "search_space": {"optimizer.lr": {"type": "float", "low": 0.01, "high": 0.5, "step": null, "log": true, "when": {}}}, "retention": {"keep_best": 3, "max_disk_gb": null, "pruned": false}, "preflight": "cheap", "on_oom": "infeasible", "max_consecutive_failures": 3, "max_attempts": 2, "lease_seconds": 60.0, "confirm": null}');
INSERT INTO "study_user_attributes" VALUES(7,2,'base','{"project": "old", "name": "curve", "seeds": [0], "folds": null, "device": "cpu", "precision": "fp32", "epochs": 2, "batch_size": 10, "task": {"target": "lab.tasks.Regression"}, "data": {"target": "lab.data.function", "name": "sin", "train_count": 20, "val_count": 10}, "net": {"target": "torch.nn.Linear", "in_features": 1, "out_features": 1}, "criterion": {"target": "torch.nn.MSELoss"}, "metrics": {"mae": {"target": "lab.metrics.MAE"}}, "optimizer": {"target": "torch.optim.SGD", "lr": 0.01}, "scheduler": null, "early_stopping_config": null, "monitor": {"metric": "val_loss", "mode": "min", "returns": "best", "also": []}, "checkpoint": {"every_epochs": null, "every_seconds": 0.0, "every_n_steps": null}, "trackers": [], "loader": {"workers": 0, "prefetch": 2, "pin_memory": null, "drop_last": false}, "gradient_clip_norm": null, "accumulate_grad_batches": 1, "check_gradients": false, "ema": null, "compile": false, "channels_last": false, "deterministic": false, "threads": null, "log_every_steps": 10, "diagnostics": {"metric": "dice", "least": 0.6, "after_epochs": 20, "gap": 0.2}, "pictures": {"enabled": false, "every_epochs": 10, "count": 4}}');
INSERT INTO "study_user_attributes" VALUES(8,2,'versions','{"torch": "2.14.1", "optuna": "5.0.0"}');
INSERT INTO "study_user_attributes" VALUES(9,3,'identity','"ad88f7a5f4dc488c8b793bda31b31204"');
INSERT INTO "study_user_attributes" VALUES(10,3,'config','{"study_name": "patients", "run": {"project": "old", "name": "patients", "task": {"target": "lab.tasks.Segmentation", "tile": 8, "overlap": 0, "divisor": 1}, "data": {"target": "lab.data.image_folder", "root": "data/patients", "metadata": "patients.csv", "group_by": "patient", "grayscale": true, "val_share": 0.33, "seed": 1}, "net": {"target": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}, "criterion": "torch.nn.BCEWithLogitsLoss", "optimizer": {"target": "torch.optim.SGD", "lr": 0.1}, "epochs": 2, "batch_size": 4, "device": "cpu", "trackers": [], "pictures": {"enabled": false}}, "set": {}, "storage": "sqlite:///studies.db", "n_trials": 2, "time_budget": null, "trial_timeout": null, "seed": 0, "sampler": {"target": "optuna.samplers.TPESampler"}, "pruner": null, "prune_on": null, "workers": null, "devices": [], "isolation": "none", "search_space": {"optimizer.lr": {"type": "float", "low": 0.01, "high": 0.5, "step": null, "log": true, "when": {}}}, "retention": {"keep_best": 3, "max_disk_gb": null, "pruned": false}, "preflight": "cheap", "on_oom": "infeasible", "max_consecutive_failures": 3, "max_attempts": 2, "lease_seconds": 60.0, "confirm": null}');
INSERT INTO "study_user_attributes" VALUES(11,3,'base','{"project": "old", "name": "patients", "seeds": [0], "folds": null, "device": "cpu", "precision": "fp32", "epochs": 2, "batch_size": 4, "task": {"target": "lab.tasks.Segmentation", "tile": 8, "overlap": 0, "divisor": 1}, "data": {"target": "lab.data.image_folder", "root": "data/patients", "metadata": "patients.csv", "group_by": "patient", "grayscale": true, "val_share": 0.33, "seed": 1}, "net": {"target": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}, "criterion": {"target": "torch.nn.BCEWithLogitsLoss"}, "metrics": {}, "optimizer": {"target": "torch.optim.SGD", "lr": 0.1}, "scheduler": null, "early_stopping_config": null, "monitor": {"metric": "val_loss", "mode": "min", "returns": "best", "also": []}, "checkpoint": {"every_epochs": null, "every_seconds": 0.0, "every_n_steps": null}, "trackers": [], "loader": {"workers": 0, "prefetch": 2, "pin_memory": null, "drop_last": false}, "gradient_clip_norm": null, "accumulate_grad_batches": 1, "check_gradients": false, "ema": null, "compile": false, "channels_last": false, "deterministic": false, "threads": null, "log_every_steps": 10, "diagnostics": {"metric": "dice", "least": 0.6, "after_epochs": 20, "gap": 0.2}, "pictures": {"enabled": false, "every_epochs": 10, "count": 4}}');
INSERT INTO "study_user_attributes" VALUES(12,3,'versions','{"torch": "2.14.1", "optuna": "5.0.0"}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,4.63129699230194091796e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,2,4.63129699230194091796e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,2,1,4.63129699230194091796e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,2,2,4.63129699230194091796e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,3,1,9.48365867137908935546e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,3,2,8.7712383270263671875e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,4,1,9.36617076396942138671e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,4,2,8.5624790191650390625e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,5,1,1.23169846534729,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,5,2,1.20954098701477041899e+00,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'optimizer.lr',2.43100979454292306924e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(2,2,'optimizer.lr',2.80596096412849341228e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(3,3,'optimizer.lr',2.43100979454292306924e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(4,4,'optimizer.lr',2.80596096412849341228e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(5,5,'optimizer.lr',2.43100979454292306924e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 0.5, "log": true}}');
INSERT INTO "trial_params" VALUES(6,6,'optimizer.lr',2.80596096412849341228e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.01, "high": 0.5, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'since','1796041309.1721408');
INSERT INTO "trial_user_attributes" VALUES(2,1,'spans','[[1796041309.1721408, 1796041314.269338]]');
INSERT INTO "trial_user_attributes" VALUES(3,1,'outcome','"completed"');
INSERT INTO "trial_user_attributes" VALUES(4,1,'cause','""');
INSERT INTO "trial_user_attributes" VALUES(5,1,'fault','""');
INSERT INTO "trial_user_attributes" VALUES(6,1,'seconds','0.10113715900024545');
INSERT INTO "trial_user_attributes" VALUES(7,1,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(8,1,'epochs_planned','2');
INSERT INTO "trial_user_attributes" VALUES(9,1,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(10,1,'attempts','1');
INSERT INTO "trial_user_attributes" VALUES(11,2,'since','1796041314.5678284');
INSERT INTO "trial_user_attributes" VALUES(12,2,'spans','[[1796041314.5678284, 1796041318.85798]]');
INSERT INTO "trial_user_attributes" VALUES(13,2,'outcome','"completed"');
INSERT INTO "trial_user_attributes" VALUES(14,2,'cause','""');
INSERT INTO "trial_user_attributes" VALUES(15,2,'fault','""');
INSERT INTO "trial_user_attributes" VALUES(16,2,'seconds','0.0496208959998512');
INSERT INTO "trial_user_attributes" VALUES(17,2,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(18,2,'epochs_planned','2');
INSERT INTO "trial_user_attributes" VALUES(19,2,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(20,2,'attempts','1');
INSERT INTO "trial_user_attributes" VALUES(21,3,'since','1796041341.1525238');
INSERT INTO "trial_user_attributes" VALUES(22,3,'spans','[[1796041341.1525238, 1796041341.7771232]]');
INSERT INTO "trial_user_attributes" VALUES(23,3,'outcome','"completed"');
INSERT INTO "trial_user_attributes" VALUES(24,3,'cause','""');
INSERT INTO "trial_user_attributes" VALUES(25,3,'fault','""');
INSERT INTO "trial_user_attributes" VALUES(26,3,'seconds','0.0239705710000635');
INSERT INTO "trial_user_attributes" VALUES(27,3,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(28,3,'epochs_planned','2');
INSERT INTO "trial_user_attributes" VALUES(29,3,'best_epoch','2');
INSERT INTO "trial_user_attributes" VALUES(30,3,'attempts','1');
INSERT INTO "trial_user_attributes" VALUES(31,4,'since','1796041341.975136');
INSERT INTO "trial_user_attributes" VALUES(32,4,'spans','[[1796041341.975136, 1796041342.5553887]]');
INSERT INTO "trial_user_attributes" VALUES(33,4,'outcome','"completed"');
INSERT INTO "trial_user_attributes" VALUES(34,4,'cause','""');
INSERT INTO "trial_user_attributes" VALUES(35,4,'fault','""');
INSERT INTO "trial_user_attributes" VALUES(36,4,'seconds','0.01643861599995944');
INSERT INTO "trial_user_attributes" VALUES(37,4,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(38,4,'epochs_planned','2');
INSERT INTO "trial_user_attributes" VALUES(39,4,'best_epoch','2');
INSERT INTO "trial_user_attributes" VALUES(40,4,'attempts','1');
INSERT INTO "trial_user_attributes" VALUES(41,5,'since','1796049734.9980826');
INSERT INTO "trial_user_attributes" VALUES(42,5,'spans','[[1796049734.9980826, 1796049735.0483081]]');
INSERT INTO "trial_user_attributes" VALUES(43,5,'outcome','"completed"');
INSERT INTO "trial_user_attributes" VALUES(44,5,'cause','""');
INSERT INTO "trial_user_attributes" VALUES(45,5,'fault','""');
INSERT INTO "trial_user_attributes" VALUES(46,5,'seconds','0.009697298000901355');
INSERT INTO "trial_user_attributes" VALUES(47,5,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(48,5,'epochs_planned','2');
INSERT INTO "trial_user_attributes" VALUES(49,5,'best_epoch','2');
INSERT INTO "trial_user_attributes" VALUES(50,5,'attempts','1');
INSERT INTO "trial_user_attributes" VALUES(51,6,'since','1796049735.0805023');
INSERT INTO "trial_user_attributes" VALUES(52,6,'spans','[[1796049735.0805023, 1796049735.121628]]');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,4.63129699230194091796e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,4.63129699230194091796e-01,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,8.7712383270263671875e-01,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,8.5624790191650390625e-01,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,1.20954098701477041899e+00,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-30 12:21:49.081551','2026-11-30 12:21:54.343246');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-30 12:21:54.529819','2026-11-30 12:21:58.922519');
INSERT INTO "trials" VALUES(3,0,2,'COMPLETE','2026-11-30 12:22:21.061905','2026-11-30 12:22:21.808559');
INSERT INTO "trials" VALUES(4,1,2,'COMPLETE','2026-11-30 12:22:21.898221','2026-11-30 12:22:22.578510');
INSERT INTO "trials" VALUES(5,0,3,'COMPLETE','2026-11-30 14:42:14.981249','2026-11-30 14:42:15.056230');
INSERT INTO "trials" VALUES(6,1,3,'WAITING','2026-11-30 14:42:15.071653',NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
