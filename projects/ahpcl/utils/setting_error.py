"""Settings that do not fit, all of them together, with some that do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


class SettingError(ValueError):
    """Settings that cannot work, and how to have them work.

    Args:
        message: What was expected, and what is there.
        options: Settings that fit, by their dotted keys in a config.
    """

    def __init__(
        self, message: str, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.options = dict(options or {})

    def __str__(self) -> str:
        if not self.options:
            return self.message
        return (
            f'{self.message}; settings that fit: --cfg-options '
            f'{written_options(self.options)}'
        )


class Problems:
    """Collects errors, to be raised together.

    Examples:
        >>> problems = Problems()
        >>> with problems.checking():
        ...     raise SettingError('expected 1, got 2', {'a.b': 1})
        >>> with problems.checking():
        ...     raise SettingError('expected 3, got 4', {'c': [3]})
        >>> problems.options
        {'a.b': 1, 'c': [3]}
    """

    def __init__(self) -> None:
        self.found: list[SettingError] = []

    @contextmanager
    def checking(self, prefix: str = '') -> Iterator[None]:
        """Within, a ``ValueError`` is kept, not raised.

        Args:
            prefix: What the keys of its options begin with in the config.
        """
        try:
            yield
        except CombinedSettingError as errors:
            self.found += [_under(prefix, error) for error in errors.found]
        except SettingError as error:
            self.found.append(_under(prefix, error))
        except ValueError as error:
            self.found.append(SettingError(str(error)))

    @property
    def options(self) -> dict[str, Any]:
        """Settings that fit, of all that was found."""
        return {
            key: value
            for error in self.found
            for key, value in error.options.items()
        }

    def report(self, what: str) -> None:
        """Raise what was found.

        Args:
            what: What the settings should fit, such as ``'40 images'``.

        Raises:
            SettingError: If there was one problem or more.
        """
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise CombinedSettingError(what, self.found)


class CombinedSettingError(SettingError):
    """Several of them in one.

    Args:
        what: What the settings should fit.
        found: The single ones.
    """

    def __init__(self, what: str, found: Sequence[SettingError]) -> None:
        self.found = list(found)
        lines = [
            f'{number}. {error.message}'
            for number, error in enumerate(found, 1)
        ]
        options: dict[str, Any] = {}
        for error in found:
            options.update(error.options)
        super().__init__(
            f'expected settings that fit {what}, got {len(found)} that do '
            'not:\n' + '\n'.join(lines) + '\n',
            options,
        )


def written_options(options: Mapping[str, Any]) -> str:
    """Options as one types them after ``--cfg-options``.

    Examples:
        >>> written_options({'a.b': [3, 2], 'c': 0.5})
        'a.b="[3,2]" c=0.5'
    """
    return ' '.join(f'{key}={_typed(value)}' for key, value in options.items())


def _typed(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f'"[{",".join(map(str, value))}]"'
    return str(value)


def _under(prefix: str, error: SettingError) -> SettingError:
    options = {f'{prefix}{key}': v for key, v in error.options.items()}
    return SettingError(error.message, options)
