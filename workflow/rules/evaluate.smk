# Every method of a part at a sigma, image by image; after the first training, the trained methods.


rule evaluate:
    input:
        images=f"{ROOT}/data/{{part}}.npz",
        noise=f"{ROOT}/noise/{{part}}/sigma{{sigma}}.csv",
        baselines=baselines_of_evaluation,
        models=models_of_evaluation,
    output:
        rows=f"{ROOT}/evaluation/{{part}}/sigma{{sigma}}{{seed}}.csv",
        arrays=f"{ROOT}/evaluation/{{part}}/sigma{{sigma}}{{seed}}.npz",
    log:
        f"{ROOT}/logs/evaluate/{{part}}/sigma{{sigma}}{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate/{{part}}-sigma{{sigma}}{{seed}}.tsv"
    conda:
        "../../environment.yml"
    threads: CONFIG.threads
    resources:
        last_try=LAST_TRY,
        gpu=ON_GPU,
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        seed=seed_of,
        settings=lambda w: settings_digest(
            CONFIG.evaluation.protocol,
            CONFIG.parts[w.part].methods,
            CONFIG.sensitivity,
        ),
        code=code_digest("dhl.evaluation.evaluate"),
    shell:
        dhl_or_record_failure(
            "evaluate --part {wildcards.part} --sigma {wildcards.sigma} --seed {params.seed}"
        )
