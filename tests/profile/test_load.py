"""Loading: where values come from, which one wins, and what is said when they are wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.profile import LoadedProfile, load_profile, shipped_profiles

WriteProfile = Callable[[str, str], Path]

#: Shipped profiles whose data lie in a folder of the user's, and the key that names it.
NEEDS_A_FOLDER = {"objects128": "data.root", "lgm_big": "data.root", "cross_data": "attack.data.root"}


@pytest.mark.parametrize("name", sorted(shipped_profiles()))
def test_shipped_profile_is_valid(name: str, tmp_path: Path) -> None:
    overrides = [f"{NEEDS_A_FOLDER[name]}={tmp_path}"] if name in NEEDS_A_FOLDER else []
    loaded = load_profile(name, overrides)
    assert loaded.name == name
    assert loaded.source == f"shipped profile {name}"


@pytest.mark.parametrize(("name", "key"), sorted(NEEDS_A_FOLDER.items()))
def test_profile_of_a_folder_says_how_to_name_it(name: str, key: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{key}: data set 'blender' needs it; add --set {key}=")):
        load_profile(name)
    assert load_profile(name, complete=False).profile.data.root is None


def test_lists_of_names_need_no_quotes_and_brackets_in_the_shell() -> None:
    profile = load_profile(overrides=["data.target=knife, hammer", "attack.lora.targets=qkv,proj"], env={}).profile
    assert profile.data.target == ("knife", "hammer")
    assert profile.attack.options("lora")["targets"] == ["qkv", "proj"]


def test_default_is_pos_opacity() -> None:
    loaded = load_profile()
    assert loaded.name == "pos_opacity"
    assert list(loaded.profile.traps) == ["position", "opacity"]


class TestPrecedence:
    def test_each_source_beats_the_one_before(self, write_profile: WriteProfile) -> None:
        path = write_profile("mine.toml", "[train]\nsteps = 2\nbatch_size = 2\nlog_every = 2\n")
        env = {"GEOTRAP_TRAIN__BATCH_SIZE": "3", "GEOTRAP_TRAIN__LOG_EVERY": "3"}
        loaded = load_profile(path, ["train.log_every=4"], env)
        train = loaded.profile.train
        assert (train.supervised_views, train.steps, train.batch_size, train.log_every) == (4, 2, 3, 4)
        assert [loaded.origins[f"train.{key}"] for key in ("supervised_views", "steps", "batch_size", "log_every")] == [
            "default",
            "profile mine.toml",
            "env GEOTRAP_TRAIN__BATCH_SIZE",
            "--set",
        ]

    def test_later_set_wins(self) -> None:
        assert load_profile(overrides=["train.steps=3", "train.steps=4"]).profile.train.steps == 4

    def test_every_value_has_an_origin(self) -> None:
        from geotrap_cli.profile.schema import flatten

        loaded = load_profile()
        assert set(loaded.origins) == set(flatten(loaded.profile.tables()))
        assert loaded.origins["traps.opacity.epsilon"] == "default"
        assert loaded.origins["traps.opacity.mode"] == "profile pos_opacity.toml"

    def test_value_may_contain_an_equals_sign(self, tmp_path: Path) -> None:
        loaded = load_profile(overrides=["data.cache=a=b", "data.target=x=y"])
        assert loaded.profile.data.cache == tmp_path / "a=b"
        assert loaded.profile.data.target == ("x=y",)

    def test_set_takes_toml_values(self) -> None:
        loaded = load_profile(overrides=['data.target=["a", "b"]', "traps.scale={weight=2.0}", "model.fuse_head=true"])
        assert loaded.profile.data.target == ("a", "b")
        assert loaded.profile.traps["scale"].weight == 2.0
        assert loaded.profile.model.fuse_head is True

    def test_line_break_cannot_smuggle_in_a_key(self) -> None:
        with pytest.raises(UsageError, match=r"train\.steps: .*valid integer"):
            load_profile(overrides=["train.steps=1\ntrain.lr=2"])

    @pytest.mark.parametrize("override", ["train.steps", "=3", "train..steps=3", ".=1"])
    def test_malformed_set_is_refused(self, override: str) -> None:
        with pytest.raises(UsageError, match="has no key and value"):
            load_profile(overrides=[override])

    def test_variables_of_the_program_are_no_keys(self) -> None:
        env = {"GEOTRAP_RUNS": "r", "GEOTRAP_CACHE": "c", "GEOTRAP_OBJECTS128": "o", "OTHER__KEY": "1"}
        assert set(load_profile(env=env).origins.values()) == {"default", "profile pos_opacity.toml"}

    def test_misspelt_variable_is_an_error(self) -> None:
        with pytest.raises(
            UsageError, match=r"trian: unknown key; did you mean 'train'\? \(env GEOTRAP_TRIAN__STEPS\)"
        ):
            load_profile(env={"GEOTRAP_TRIAN__STEPS": "3"})


class TestExtends:
    def test_later_base_wins_and_the_file_wins_over_both(self, write_profile: WriteProfile) -> None:
        write_profile("bases/a.toml", "[train]\nsteps = 1\nbatch_size = 1\nlog_every = 1\n")
        write_profile("bases/b.toml", "[train]\nbatch_size = 2\nlog_every = 2\n")
        path = write_profile("mine.toml", 'extends = ["bases/a", "bases/b.toml"]\n[train]\nlog_every = 3\n')
        loaded = load_profile(path)
        assert (loaded.profile.train.steps, loaded.profile.train.batch_size, loaded.profile.train.log_every) == (
            1,
            2,
            3,
        )
        assert loaded.origins["train.steps"] == "profile a.toml"

    def test_shipped_name(self, write_profile: WriteProfile) -> None:
        loaded = load_profile(write_profile("mine.toml", 'extends = "pos_scale"\n[traps.position]\nweight = 3.0\n'))
        assert {key: trap.weight for key, trap in loaded.profile.traps.items()} == {"position": 3.0, "scale": 1.0}

    def test_file_beside_the_profile_beats_a_shipped_name(self, write_profile: WriteProfile) -> None:
        write_profile("pos_scale.toml", "[train]\nsteps = 7\n")
        assert load_profile(write_profile("mine.toml", 'extends = "pos_scale"')).profile.train.steps == 7

    def test_inherited_trap_can_be_taken_away(self, write_profile: WriteProfile) -> None:
        path = write_profile("mine.toml", 'extends = "pos_opacity"\n[traps]\nopacity = false\n')
        assert list(load_profile(path).profile.traps) == ["position"]
        assert list(load_profile("pos_opacity", ["traps.position=false"]).profile.traps) == ["opacity"]

    def test_circle_is_an_error(self, write_profile: WriteProfile) -> None:
        write_profile("a.toml", 'extends = "b"')
        write_profile("b.toml", 'extends = "c"')
        path = write_profile("c.toml", 'extends = "a"')
        with pytest.raises(UsageError, match=r"circle: c\.toml -> a\.toml -> b\.toml -> c\.toml"):
            load_profile(path)

    def test_same_base_twice_is_no_circle(self, write_profile: WriteProfile) -> None:
        write_profile("base.toml", "[train]\nsteps = 9\n")
        write_profile("a.toml", 'extends = "base"')
        write_profile("b.toml", 'extends = "base"')
        assert load_profile(write_profile("mine.toml", 'extends = ["a", "b"]')).profile.train.steps == 9

    @pytest.mark.parametrize("extends", ["3", "[1]", "{a = 1}"])
    def test_wrong_type_is_refused(self, write_profile: WriteProfile, extends: str) -> None:
        with pytest.raises(UsageError, match="extends: expects a profile or a list of profiles"):
            load_profile(write_profile("mine.toml", f"extends = {extends}"))


class TestFinding:
    def test_path_beats_shipped_name(self, write_profile: WriteProfile) -> None:
        write_profile("pos_opacity.toml", "[train]\nsteps = 5\n")
        assert load_profile("pos_opacity").profile.train.steps == 5
        assert load_profile("pos_opacity.toml").source.endswith("pos_opacity.toml")

    def test_folder_of_the_same_name_does_not_hide_it(self, tmp_path: Path) -> None:
        (tmp_path / "pos_opacity").mkdir()
        assert load_profile("pos_opacity").source == "shipped profile pos_opacity"

    def test_missing_profile_names_the_closest(self) -> None:
        with pytest.raises(UsageError, match=r"no profile 'pos_opacty'\. Did you mean 'pos_opacity'\?"):
            load_profile("pos_opacty")

    def test_broken_toml_names_the_line(self, write_profile: WriteProfile) -> None:
        with pytest.raises(UsageError, match=r"mine\.toml is not TOML: .*line 2"):
            load_profile(write_profile("mine.toml", "[train]\nsteps = = 3\n"))

    def test_text_that_is_not_utf8_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(UsageError, match="cannot read profile"):
            load_profile("mine")


class TestPaths:
    def test_relative_to_the_file_that_states_them(self, write_profile: WriteProfile, tmp_path: Path) -> None:
        write_profile("lib/base.toml", '[data]\ncache = "cache"\n')
        text = 'extends = "../lib/base"\n[model]\nweights = "w/model"\n[loss]\nlpips_trunk = "vgg.pth"\n'
        path = write_profile("own/mine.toml", text)
        (tmp_path / "own" / "w" / "model").mkdir(parents=True)
        profile = load_profile(path).profile
        assert profile.data.cache == tmp_path / "lib" / "cache"
        assert Path(profile.model.weights) == tmp_path / "own" / "w" / "model"
        assert profile.loss.lpips_trunk == tmp_path / "own" / "vgg.pth"

    @pytest.mark.parametrize("id", ["ashawkey/LGM", "ashawkey/LGM@main"])
    def test_an_id_on_the_hub_is_no_path(self, write_profile: WriteProfile, id: str) -> None:
        path = write_profile("own/mine.toml", f'[model]\nweights = "{id}"\n')
        assert load_profile(path).profile.model.weights == id

    def test_a_home_of_nobody_stays_as_it_is(self) -> None:
        root = load_profile(overrides=["data.cache=~nobody-of-that-name/x"]).profile.data.cache
        assert root is not None and root.parts[-2:] == ("~nobody-of-that-name", "x")

    def test_set_and_environment_are_relative_to_the_working_folder(
        self, write_profile: WriteProfile, tmp_path: Path
    ) -> None:
        path = write_profile("own/mine.toml", "")
        loaded = load_profile(path, ["model.weights=w"], {"GEOTRAP_DATA__CACHE": "c"})
        assert Path(loaded.profile.model.weights) == tmp_path / "w"
        assert loaded.profile.data.cache == tmp_path / "c"

    @pytest.mark.parametrize("named", ["shipped", "random"])
    def test_named_weights_are_no_path(self, named: str) -> None:
        assert load_profile(overrides=[f"model.weights={named}"]).profile.model.weights == named


def _problems(*overrides: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_profile(overrides=overrides)
    return caught.value.message


class TestProblems:
    def test_all_are_told_at_once_one_a_line(self) -> None:
        message = _problems(
            "train.stepz=1", "train.lr=-1", "traps.positon.weight=1", "attack.methods=lorra", "data.kind=blendr"
        )
        head, *lines = message.splitlines()
        assert head == "shipped profile pos_opacity: 5 problems"
        assert sorted(line.split(":")[0].strip() for line in lines) == [
            "attack.methods",
            "data.kind",
            "train.lr",
            "train.stepz",
            "traps.positon",
        ]

    def test_traps_that_are_no_table_have_no_bounds(self) -> None:
        message = _problems("traps=5", "aggregation.method=product")
        assert message.startswith("shipped profile pos_opacity: traps: ")
        assert "\n" not in message

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("train.stepz=1", "train.stepz: unknown key; did you mean 'train.steps'?"),
            ("trian.steps=1", "trian: unknown key; did you mean 'train'?"),
            ("batch_size=1", "batch_size: unknown key; did you mean 'train.batch_size'?"),
            ("model.clip_norm=1", "model.clip_norm: unknown key; did you mean 'train.clip_norm'?"),
            ("robust.noise=1", "robust.noise: unknown key; this table has parameter_noise, input_noise, awp"),
            ("traps.position.epsilno=1", "traps.position.epsilno: unknown key; did you mean 'traps.position.epsilon'?"),
            ("traps.positon={}", "traps.positon: unknown trap 'positon'; did you mean 'position'?"),
            ("traps.position=3", "traps.position: expects a table"),
            ("traps.opacity.mode=lgo", "did you mean 'log'?"),
            ("attack.lorra.rank=3", "attack.lorra: unknown key; did you mean 'attack.lora'?"),
            ("attack.lora.rnak=3", "attack.lora.rnak: unknown key; did you mean 'attack.lora.rank'?"),
            ("attack.lora=3", "attack.lora: expects a table"),
            ("attack.methods=fulll", "attack.methods: unknown attack 'fulll'; did you mean 'full'?"),
            ("aggregation.method=logsumepx", "did you mean 'logsumexp'?"),
            ("model.preset=nan0", "model.preset: unknown preset 'nan0' of lgm; did you mean 'nano'?"),
            ("data.kind=procedual", "data.kind: unknown data set 'procedual'; did you mean 'procedural'?"),
            ("data.root=somewhere", "data.root: data set 'procedural' does not read it"),
            ("train=3", "train: "),
            ("traps.position.epsilon=true", "traps.position.epsilon: input should be a valid number, got True"),
            ("attack.lora.rank=true", "attack.lora.rank: input should be a valid integer, got True"),
            ("attack.full.betas=[2.0,-1.0]", "attack.full.betas.0: input should be less than 1"),
            ("train.steps.x=3", "train.steps: "),
            ("traps.position.dynamic=3", "traps.position.dynamic: "),
            ("traps.position.dynamic.every=2", "traps.position.dynamic.eta: is required"),
        ],
    )
    def test_each_names_key_cause_and_origin(self, override: str, told: str) -> None:
        message = _problems(override)
        assert told in message
        assert message.endswith("(--set)")

    def test_bounded_aggregation_refuses_an_unbounded_trap(self) -> None:
        message = _problems("aggregation.method=product", "traps.opacity.mode=logit")
        assert "aggregation.method: 'product' needs traps that are bounded above by 0, and trap 'opacity'" in message
        assert load_profile(overrides=["aggregation.method=product"]).profile.aggregation.method == "product"


def test_loaded_profile_of_two_commands_is_equal() -> None:
    first, second = load_profile(), load_profile()
    assert isinstance(first, LoadedProfile)
    assert first.profile == second.profile
